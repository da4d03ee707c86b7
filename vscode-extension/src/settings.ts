/** The settings that the server is told: all of ours but those that are the extension's own. */

export type Tree = Record<string, unknown>;

/**
 * What the server is told of the editor's section `cascade`. Where the workspace is not trusted
 * nothing is executed, whatever was set.
 */
export function forServer(section: Tree, trusted: boolean): Tree {
  // The editor's own object is a read-only proxy, which structuredClone refuses.
  const told = JSON.parse(JSON.stringify(section)) as Tree;
  delete told["python"];
  if (!trusted) told["sandbox"] = { ...(told["sandbox"] as Tree | undefined), execution: "off" };
  return told;
}
