/** A better answer takes the place of the one shown, if nothing has moved since. */

import * as vscode from "vscode";
import type { Improved } from "./protocol";

/** Show the better answer; a document or a cursor that has moved on is left alone. */
export async function upgrade(better: Improved): Promise<void> {
  const editor = vscode.window.activeTextEditor;
  if (!editor || !isStillThere(editor, better)) return;
  // A trigger alone would keep the old suggestion; the server answers it from its memory.
  await vscode.commands.executeCommand("editor.action.inlineSuggest.hide");
  await vscode.commands.executeCommand("editor.action.inlineSuggest.trigger");
}

function isStillThere({ document, selection }: vscode.TextEditor, better: Improved): boolean {
  const { line, character } = better.range.end;
  return (
    document.uri.toString() === vscode.Uri.parse(better.uri).toString() &&
    document.version === better.version &&
    selection.isEmpty &&
    selection.active.isEqual(new vscode.Position(line, character))
  );
}
