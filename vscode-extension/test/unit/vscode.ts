/** What a test without an editor needs of one: a place to register providers, stable or not. */

export interface Provider {
  provideInlineCompletionItems: unknown;
  handleDidShowCompletionItem?: unknown;
}

export const registered: Provider[] = [];
let stable = true;

/** Be an editor with or without the proposed API, with nothing registered yet. */
export function become(kind: "stable" | "proposed"): void {
  stable = kind === "stable";
  registered.length = 0;
}

export const languages = {
  registerInlineCompletionItemProvider(_selector: unknown, provider: Provider): { dispose(): void } {
    if (stable && provider.handleDidShowCompletionItem) {
      throw new Error("CANNOT use API proposal: inlineCompletionsAdditions");
    }
    registered.push(provider);
    return {
      dispose: () => {
        registered.splice(registered.indexOf(provider), 1);
      },
    };
  },
};
