/**
 * Markup in which everything is escaped unless it is markup itself.
 *
 * This is no template engine: a tag for template strings, and the one way to show text that a
 * model wrote. Attributes must be quoted where they are written; nothing here checks that.
 */

class Markup {
  constructor(readonly text: string) {}
}

/** Markup that `html` made; no other module can make one. */
export type Html = Markup;

/** What may stand in a template: null, undefined and false leave nothing behind. */
export type Part = Html | string | number | null | undefined | false | readonly Part[];

const ENTITIES: Record<string, string> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };
const INVISIBLE = /[^\P{C}\n\t]|[^\P{Z} ]/gu;

/**
 * Return text as HTML shows it, in an element or in a quoted attribute.
 *
 * What has no glyph of its own (control characters, bidirectional and zero-width marks, exotic
 * blanks) becomes visible as an escape such as `\u202e`; only line ends and tabs stay.
 */
export function escape(text: string): string {
  return text
    .replaceAll("\r\n", "\n")
    .replace(INVISIBLE, visible)
    .replace(/[&<>"']/g, (sign) => ENTITIES[sign] ?? sign);
}

function visible(sign: string): string {
  const code = (sign.codePointAt(0) ?? 0).toString(16);
  return code.length <= 2 ? `\\x${code.padStart(2, "0")}` : `\\u${code.length <= 4 ? code.padStart(4, "0") : `{${code}}`}`;
}

/** Return a template string as markup, with every part escaped that is not markup already. */
export function html(strings: TemplateStringsArray, ...parts: readonly Part[]): Html {
  return new Markup(String.raw({ raw: strings }, ...parts.map(markup)));
}

function markup(part: Part): string {
  if (part instanceof Markup) return part.text;
  if (typeof part === "string" || typeof part === "number") return escape(String(part));
  return part ? part.map(markup).join("") : "";
}
