/**
 * What becomes of a suggestion, told to the server where the editor offers the proposed events.
 * On a stable editor they are not there: then the server infers accepts from the text alone.
 */

import { languages, type Disposable, type InlineCompletionItem, type InlineCompletionItemProvider } from "vscode";
import type { InlineCompletionRegistrationOptions, LanguageClient } from "vscode-languageclient/node";

/** The part of the proposal `inlineCompletionsAdditions` that is used. */
interface Observer {
  handleDidShowCompletionItem(item: InlineCompletionItem): void;
  handleDidPartiallyAcceptCompletionItem(
    item: InlineCompletionItem,
    accepted: number | { acceptedLength: number },
  ): void;
  handleEndOfLifetime(item: InlineCompletionItem, reason: { kind: number }): void;
}

interface Feature {
  registerLanguageProvider(
    options: InlineCompletionRegistrationOptions,
  ): [Disposable, InlineCompletionItemProvider];
}

const REJECTED = 1; // of the proposal's InlineCompletionEndOfLifeReasonKind

/** Let the client's provider observe its suggestions; before the client is started. */
export function observe(client: LanguageClient): void {
  // The client has no other place to add handlers to the provider that it registers.
  const feature = client.getFeature("textDocument/inlineCompletion") as unknown as Feature;
  const register = feature.registerLanguageProvider.bind(feature);
  feature.registerLanguageProvider = (options) => {
    const [registration, provider] = register(options);
    const selector = client.protocol2CodeConverter.asDocumentSelector(options.documentSelector ?? []);
    try {
      const observed = Object.assign({}, provider, observer(client));
      const again = languages.registerInlineCompletionItemProvider(selector, observed);
      registration.dispose();
      return [again, provider];
    } catch {
      return [registration, provider]; // the proposal is not enabled in this editor
    }
  };
}

function observer(client: LanguageClient): Observer {
  const tell = (method: string, item: InlineCompletionItem, more = {}) => {
    const { insertText, command } = item;
    void client.sendNotification(method, { item: { insertText, command }, ...more });
  };
  return {
    handleDidShowCompletionItem: (item) => {
      tell("textDocument/didShowCompletion", item);
    },
    handleDidPartiallyAcceptCompletionItem: (item, accepted) => {
      const acceptedLength = typeof accepted === "number" ? accepted : accepted.acceptedLength;
      tell("textDocument/didPartiallyAcceptCompletion", item, { acceptedLength });
    },
    handleEndOfLifetime: (item, { kind }) => {
      if (kind === REJECTED) tell("cascade/didRejectCompletion", item);
    },
  };
}
