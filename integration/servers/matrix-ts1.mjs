// What every server of the matrix offers, by the TypeScript sdk 1.x: `NAME` on stdio, `NAME PORT` streamable HTTP on loopback.
import { randomUUID } from 'node:crypto';
import http from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { completable } from '@modelcontextprotocol/sdk/server/completable.js';
import { McpServer, ResourceTemplate } from '@modelcontextprotocol/sdk/server/mcp.js';
import { StdioServerTransport } from '@modelcontextprotocol/sdk/server/stdio.js';
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js';
import * as types from '@modelcontextprotocol/sdk/types.js';
import { z } from 'zod';

const [NAME, PORT] = process.argv.slice(2);
const WATCHED = 'test://x';
const text = text => ({ content: [{ type: 'text', text }] });
let cancelled = 0;

function build() {
  const capabilities = { logging: {}, resources: { subscribe: true, listChanged: true }, tools: { listChanged: true } };
  const m = new McpServer({ name: NAME, version: '1' }, { capabilities });
  const tool = (name, inputSchema, perform, outputSchema) => m.registerTool(name, { inputSchema, outputSchema }, perform);
  tool('echo', { text: z.string() }, async args => text(`${NAME}: ${args.text}`));
  tool('add', { a: z.number(), b: z.number() }, async ({ a, b }) => {
    const structuredContent = { sum: a + b };
    return { ...text(JSON.stringify(structuredContent)), structuredContent };
  }, { sum: z.number() });
  tool('fail', {}, async () => { throw new Error('broken on purpose'); });
  tool('steps', {}, async (_, { _meta, sendNotification }) => {
    for (const progress of _meta?.progressToken === undefined ? [] : [1, 2]) {
      const params = { progressToken: _meta.progressToken, progress, total: 2 };
      await sendNotification({ method: 'notifications/progress', params });
    }
    await sleep(300); // the SDK's client drops progress that comes in one breath with the result
    return text('done');
  });
  tool('speak', {}, async (_, { sendNotification }) => {
    await sendNotification({ method: 'notifications/message', params: { level: 'info', data: `log of ${NAME}` } });
    return text('done');
  });
  tool('wait', {}, (_, { signal }) => new Promise(resolve => {
    const late = setTimeout(() => resolve(text('not cancelled')), 20_000);
    signal.addEventListener('abort', () => {
      cancelled++;
      clearTimeout(late);
      resolve(text('cancelled'));
    });
  }));
  tool('cancels', {}, async () => text(String(cancelled)));
  tool('touch', {}, async () => {
    await m.server.sendResourceUpdated({ uri: WATCHED });
    return text('done');
  });
  const grown = tool('grown', {}, async () => text('grown'));
  grown.disable();
  tool('grow', {}, async () => {
    grown.enabled ? grown.disable() : grown.enable(); // which says so
    return text('done');
  });
  tool('ask', {}, async (_, { sendRequest }) => {
    const requestedSchema = { type: 'object', properties: { name: { type: 'string' } }, required: ['name'] };
    const params = { mode: 'form', message: 'Who is there?', requestedSchema };
    const answer = await sendRequest({ method: 'elicitation/create', params }, types.ElicitResultSchema);
    return text(`${NAME} greets ${answer.content.name}`);
  });
  tool('think', {}, async (_, { sendRequest }) => {
    const messages = [{ role: 'user', content: { type: 'text', text: 'Think.' } }];
    const params = { messages, maxTokens: 10 };
    const said = await sendRequest({ method: 'sampling/createMessage', params }, types.CreateMessageResultSchema);
    return text(`${NAME} was told ${said.content.text}`);
  });
  const person = completable(z.string(), start => ['Ada', 'Alan'].filter(name => name.startsWith(start)));
  m.registerPrompt('greet', { argsSchema: { name: person } }, ({ name }) => ({
    messages: [{ role: 'user', content: { type: 'text', text: `${NAME} greets ${name}` } }],
  }));
  m.registerResource('x', WATCHED, {}, async uri => ({ contents: [{ uri: uri.href, text: `the x of ${NAME}` }] }));
  const template = new ResourceTemplate('test://item/{number}', { list: undefined });
  m.registerResource('item', template, {}, async (uri, { number }) => ({
    contents: [{ uri: uri.href, text: `item ${number} of ${NAME}` }],
  }));
  m.server.setRequestHandler(types.SubscribeRequestSchema, async () => ({}));
  m.server.setRequestHandler(types.UnsubscribeRequestSchema, async () => ({}));
  return m;
}

const sessions = new Map();
async function serve(request, response) {
  let transport = sessions.get(request.headers['mcp-session-id']);
  if (!transport) {
    transport = new StreamableHTTPServerTransport({
      sessionIdGenerator: randomUUID,
      onsessioninitialized: id => void sessions.set(id, transport),
      onsessionclosed: id => void sessions.delete(id),
    });
    await build().connect(transport);
  }
  await transport.handleRequest(request, response);
}

if (PORT) http.createServer(serve).listen(Number(PORT), '127.0.0.1');
else await build().connect(new StdioServerTransport());
