/** The settings that the server is told: all of ours but those that are the extension's own. */

export type Tree = Record<string, unknown>;

/**
 * What the server is told of the editor's section `cascade`. Where the workspace is not trusted
 * nothing is executed and nothing of the project is read by what runs, whatever was set; where it
 * is, tests may import its installed packages, unless the user has chosen otherwise.
 */
export function forServer(section: Tree, trusted: boolean, projectChosen: boolean): Tree {
  // The editor's own object is a read-only proxy, which structuredClone refuses.
  const told = JSON.parse(JSON.stringify(section)) as Tree;
  delete told["python"];
  const sandbox = told["sandbox"] as Tree | undefined;
  if (!trusted) told["sandbox"] = { ...sandbox, execution: "off", project: "none" };
  else if (!projectChosen) told["sandbox"] = { ...sandbox, project: "packages" };
  return told;
}
