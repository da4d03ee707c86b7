"""The extension's views as a browser shows them, under the themes of VS Code.

The webview around them is imitated where they touch it: the theme's variables on the root
element, a class on the body, and `acquireVsCodeApi`.
"""

import json
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, Route

from tests.editor.machine import EXTENSION, node, packages

ORIGIN = "http://views.test/"
BUNDLE = """
import { build } from "esbuild";
const [entry, outfile] = process.argv.slice(1);
await build({ entryPoints: [entry], outfile, bundle: true, platform: "node", logLevel: "warning" });
"""
API = """
window.messages = [];
window.acquireVsCodeApi = () => ({ postMessage: (message) => window.messages.push(message) });
"""
THEME = """async ([theme, variables]) => {
  for (const [name, value] of Object.entries(variables)) {
    document.documentElement.style.setProperty(`--vscode-${name}`, value);
  }
  document.body.className = theme;
  for (let i = 0; i < 2; i++) await new Promise(requestAnimationFrame);  // till it is laid out
}"""

_EVERYWHERE = {
    "font-family": "'Liberation Sans', sans-serif",
    "font-size": "13px",
    "editor-font-family": "'Liberation Mono', monospace",
    "editor-font-size": "13px",
}
_DARK = {
    "foreground": "#cccccc",
    "descriptionForeground": "#9d9d9d",
    "editor-background": "#1f1f1f",
    "textCodeBlock-background": "#2b2b2b",
    "textLink-foreground": "#4daafc",
    "widget-border": "#313131",
    "focusBorder": "#0078d4",
    "button-border": "#ffffff1a",
    "button-secondaryBackground": "#313131",
    "button-secondaryForeground": "#cccccc",
    "button-secondaryHoverBackground": "#3c3c3c",
    "input-background": "#313131",
    "input-border": "#3c3c3c",
    "input-foreground": "#cccccc",
    "input-placeholderForeground": "#989898",
    "list-hoverBackground": "#2a2d2e",
    "charts-lines": "#cccccc80",
    "charts-green": "#89d185",
    "charts-red": "#f14c4c",
    "charts-yellow": "#cca700",
    "charts-blue": "#3794ff",
    "charts-purple": "#b180d7",
    "diffEditor-insertedLineBackground": "#9bb95533",
    "diffEditor-removedLineBackground": "#ff000033",
    "diffEditor-insertedTextBackground": "#9ccc2c33",
    "diffEditor-removedTextBackground": "#ff000033",
}
_LIGHT = _DARK | {
    "foreground": "#3b3b3b",
    "descriptionForeground": "#3b3b3b",
    "editor-background": "#ffffff",
    "textCodeBlock-background": "#f8f8f8",
    "textLink-foreground": "#005fb8",
    "widget-border": "#e5e5e5",
    "focusBorder": "#005fb8",
    "button-border": "#0000001a",
    "button-secondaryBackground": "#e5e5e5",
    "button-secondaryForeground": "#3b3b3b",
    "button-secondaryHoverBackground": "#cccccc",
    "input-background": "#ffffff",
    "input-border": "#cecece",
    "input-foreground": "#3b3b3b",
    "input-placeholderForeground": "#767676",
    "list-hoverBackground": "#f2f2f2",
    "charts-lines": "#3b3b3b80",
    "charts-green": "#388a34",
    "charts-red": "#e51400",
    "charts-yellow": "#bf8803",
    "charts-blue": "#1a85ff",
    "charts-purple": "#652d90",
    "diffEditor-insertedTextBackground": "#9ccc2c40",
}
_HIGH_CONTRAST = {
    "foreground": "#ffffff",
    "descriptionForeground": "#ffffffb3",
    "editor-background": "#000000",
    "textCodeBlock-background": "#000000",
    "textLink-foreground": "#21a6ff",
    "contrastBorder": "#6fc3df",
    "contrastActiveBorder": "#f38518",
    "widget-border": "#6fc3df",
    "focusBorder": "#f38518",
    "button-border": "#6fc3df",
    "button-secondaryForeground": "#ffffff",
    "input-background": "#000000",
    "input-border": "#6fc3df",
    "input-foreground": "#ffffff",
    "input-placeholderForeground": "#ffffffb3",
    "charts-lines": "#ffffff80",
    "charts-green": "#89d185",
    "charts-red": "#f48771",
    "charts-yellow": "#ffd370",
    "charts-blue": "#59a4f9",
    "charts-purple": "#b180d7",
    "diffEditor-insertedTextBorder": "#33ff2e",
    "diffEditor-removedTextBorder": "#ff008f",
}
_HIGH_CONTRAST_LIGHT = _HIGH_CONTRAST | {
    "foreground": "#292929",
    "descriptionForeground": "#292929b3",
    "editor-background": "#ffffff",
    "textCodeBlock-background": "#f2f2f2",
    "textLink-foreground": "#0f4a85",
    "contrastBorder": "#0f4a85",
    "contrastActiveBorder": "#006bbd",
    "widget-border": "#0f4a85",
    "focusBorder": "#006bbd",
    "button-border": "#0f4a85",
    "button-secondaryBackground": "#ffffff",
    "button-secondaryForeground": "#292929",
    "input-background": "#ffffff",
    "input-border": "#0f4a85",
    "input-foreground": "#292929",
    "input-placeholderForeground": "#292929b3",
    "charts-lines": "#29292980",
    "charts-green": "#374e06",
    "charts-red": "#b5200d",
    "charts-yellow": "#895503",
    "charts-blue": "#0063d3",
    "charts-purple": "#652d90",
    "diffEditor-insertedTextBorder": "#374e06",
    "diffEditor-removedTextBorder": "#ad0707",
}
THEMES = {
    "dark": ("vscode-dark", _DARK),
    "light": ("vscode-light", _LIGHT),
    "hc-dark": ("vscode-high-contrast", _HIGH_CONTRAST),
    "hc-light": ("vscode-high-contrast vscode-high-contrast-light", _HIGH_CONTRAST_LIGHT),
}


def documents(folder: Path) -> dict[str, str]:
    """Bundle the views in `folder` and return them as whole documents by name."""
    packages()
    entry, bundle = EXTENSION / "test" / "unit" / "views_page.ts", folder / "views_page.cjs"
    node("--input-type=module", "-e", BUNDLE, str(entry), str(bundle))
    found: dict[str, str] = json.loads(node(str(bundle)))
    return found


def show(page: Page, document: str, theme: str) -> list[str]:
    """Show a document in a page as a webview would; return the list that errors will be in."""
    errors: list[str] = []
    page.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.route("**/*", lambda route: _answer(route, document))
    page.add_init_script(API)
    page.goto(ORIGIN)
    page.evaluate(THEME, [THEMES[theme][0], _EVERYWHERE | THEMES[theme][1]])
    return errors


def violations(page: Page) -> list[dict[str, Any]]:
    """Return what axe finds in a page against WCAG 2.2 A and AA and its own best practices."""
    page.evaluate((EXTENSION / "node_modules" / "axe-core" / "axe.min.js").read_text())
    tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
    result = page.evaluate("(tags) => axe.run({ runOnly: tags })", tags)
    return [
        {"rule": found["id"], "where": [(n["html"], n["failureSummary"]) for n in found["nodes"]]}
        for found in result["violations"]
    ]


def _answer(route: Route, document: str) -> None:
    name = route.request.url.removeprefix(ORIGIN)
    if not name:
        route.fulfill(body=document, content_type="text/html")
    elif name in ("view.css", "view.js"):
        route.fulfill(path=EXTENSION / "media" / name)
    else:
        route.fulfill(status=404)
