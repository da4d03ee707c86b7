import { deepEqual, equal } from "node:assert/strict";
import type { LanguageClient } from "vscode-languageclient/node";
import { observe } from "../../src/observed";
import { become, languages, registered } from "./vscode";

interface Handlers {
  provideInlineCompletionItems(): string;
  handleDidShowCompletionItem(item: object): void;
  handleDidPartiallyAcceptCompletionItem(item: object, accepted: unknown): void;
  handleEndOfLifetime(item: object, reason: { kind: number }): void;
}

const ITEM = { insertText: "a + b", command: { command: "cascade.acceptCompletion", arguments: ["d1"] } };

/** A client whose feature registers a plain provider, as the language client's does. */
function observed(): { sent: [string, object][] } {
  const sent: [string, object][] = [];
  const provider = { provideInlineCompletionItems: () => "answer" };
  const feature = {
    registerLanguageProvider: () => [
      languages.registerInlineCompletionItemProvider([], provider),
      provider,
    ],
  };
  const client = {
    getFeature: () => feature,
    protocol2CodeConverter: { asDocumentSelector: (selector: unknown) => selector },
    sendNotification: (method: string, params: object) => {
      sent.push([method, params]);
      return Promise.resolve();
    },
  };
  observe(client as unknown as LanguageClient);
  (feature.registerLanguageProvider as (options: object) => unknown)({ documentSelector: [] });
  return { sent };
}

suite("what becomes of a suggestion", () => {
  test("a stable editor keeps the plain provider, alone", () => {
    become("stable");
    observed();
    equal(registered.length, 1);
    equal(registered[0]?.handleDidShowCompletionItem, undefined);
  });

  test("an editor with the proposal has one provider, which still answers", () => {
    become("proposed");
    observed();
    equal(registered.length, 1);
    equal((registered[0] as Handlers).provideInlineCompletionItems(), "answer");
  });

  test("shown, partly accepted and refused are told with the item, ignored is not", () => {
    become("proposed");
    const { sent } = observed();
    const handlers = registered[0] as Handlers;
    handlers.handleDidShowCompletionItem(ITEM);
    handlers.handleDidPartiallyAcceptCompletionItem(ITEM, 3);
    handlers.handleDidPartiallyAcceptCompletionItem(ITEM, { acceptedLength: 5 });
    handlers.handleEndOfLifetime(ITEM, { kind: 1 });
    handlers.handleEndOfLifetime(ITEM, { kind: 2 });
    deepEqual(sent, [
      ["textDocument/didShowCompletion", { item: ITEM }],
      ["textDocument/didPartiallyAcceptCompletion", { item: ITEM, acceptedLength: 3 }],
      ["textDocument/didPartiallyAcceptCompletion", { item: ITEM, acceptedLength: 5 }],
      ["cascade/didRejectCompletion", { item: ITEM }],
    ]);
  });
});
