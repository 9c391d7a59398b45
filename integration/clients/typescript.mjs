// The official TypeScript SDK (1.x) as a client, driven by lines of JSON on stdin; the same lines as python.py.
import { createInterface } from "node:readline";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import * as types from "@modelcontextprotocol/sdk/types.js";

const target = JSON.parse(process.argv[2]);
const client = new Client({ name: "integration-typescript", version: "1" }, { capabilities: {} });
const changes = { tools: 0, resources: 0, prompts: 0 };
client.setNotificationHandler(types.ToolListChangedNotificationSchema, () => void changes.tools++);
client.setNotificationHandler(types.ResourceListChangedNotificationSchema, () => void changes.resources++);
client.setNotificationHandler(types.PromptListChangedNotificationSchema, () => void changes.prompts++);

const transport = target.url
  ? new StreamableHTTPClientTransport(new URL(target.url))
  : new StdioClientTransport({
      command: target.command[0],
      args: target.command.slice(1),
      env: { PATH: process.env.PATH, ...target.env },
      stderr: "inherit",
    });

async function everything(page, key) {
  const found = [];
  let cursor;
  do {
    const answer = await page(cursor ? { cursor } : {});
    found.push(...answer[key]);
    cursor = answer.nextCursor;
  } while (cursor);
  return found;
}

async function call(ask) {
  const progress = [];
  const options = ask.progress ? { onprogress: (p) => progress.push([p.progress, p.total]) } : {};
  const answer = await client.callTool({ name: ask.name, arguments: ask.arguments ?? {} }, undefined, options);
  return { ...answer, progress };
}

const ops = {
  tools: () => everything((p) => client.listTools(p), "tools"),
  resources: () => everything((p) => client.listResources(p), "resources"),
  templates: () => everything((p) => client.listResourceTemplates(p), "resourceTemplates"),
  prompts: () => everything((p) => client.listPrompts(p), "prompts"),
  call,
  read: (ask) => client.readResource({ uri: ask.uri }),
  prompt: (ask) => client.getPrompt({ name: ask.name, arguments: ask.arguments ?? {} }),
  complete: (ask) =>
    client.complete({ ref: { type: "ref/prompt", name: ask.name }, argument: { name: ask.argument, value: ask.value } }),
  changes: () => changes,
};

const say = (value) => process.stdout.write(JSON.stringify(value) + "\n");
await client.connect(transport);
const protocol = transport.protocolVersion; // known over HTTP only
say({ server: client.getServerVersion()?.name, protocol });
for await (const line of createInterface({ input: process.stdin })) {
  const ask = JSON.parse(line);
  try {
    say({ value: await ops[ask.op](ask) });
  } catch (error) {
    say({ error: `${error.name}: ${error.message}` });
  }
}
await client.close();
process.exit(0);
