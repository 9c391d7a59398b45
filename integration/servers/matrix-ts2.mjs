// What every server of the matrix offers, by the TypeScript `server` 2.x: `NAME` on stdio, `NAME PORT` streamable HTTP on loopback.
import http from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { McpServer, ResourceTemplate, acceptedContent, completable, createMcpHandler, inputRequired } from '@modelcontextprotocol/server';
import { serveStdio } from '@modelcontextprotocol/server/stdio';
import { z } from 'zod';

const [NAME, PORT] = process.argv.slice(2);
const WATCHED = 'test://x';
const text = text => ({ content: [{ type: 'text', text }] });
let cancelled = 0;
let grown = false; // one instance of the server is built for each request over HTTP
let handler;

function build() {
  const capabilities = { logging: {}, resources: { subscribe: true, listChanged: true }, tools: { listChanged: true } };
  const m = new McpServer({ name: NAME, version: '1' }, { capabilities });
  const tool = (name, shape, perform, output) => {
    const outputSchema = output && z.object(output);
    return m.registerTool(name, { inputSchema: z.object(shape), outputSchema }, perform);
  };
  tool('echo', { text: z.string() }, async args => text(`${NAME}: ${args.text}`));
  tool('add', { a: z.number(), b: z.number() }, async ({ a, b }) => {
    const structuredContent = { sum: a + b };
    return { ...text(JSON.stringify(structuredContent)), structuredContent };
  }, { sum: z.number() });
  tool('fail', {}, async () => { throw new Error('broken on purpose'); });
  tool('steps', {}, async (_, { mcpReq }) => {
    for (const progress of mcpReq._meta?.progressToken === undefined ? [] : [1, 2]) {
      const params = { progressToken: mcpReq._meta.progressToken, progress, total: 2 };
      await mcpReq.notify({ method: 'notifications/progress', params });
    }
    await sleep(300); // the SDK's client drops progress that comes in one breath with the result
    return text('done');
  });
  tool('speak', {}, async (_, { mcpReq }) => {
    await mcpReq.log('info', `log of ${NAME}`);
    return text('done');
  });
  tool('wait', {}, (_, { mcpReq }) => new Promise(resolve => {
    const late = setTimeout(() => resolve(text('not cancelled')), 20_000);
    mcpReq.signal.addEventListener('abort', () => {
      cancelled++;
      clearTimeout(late);
      resolve(text('cancelled'));
    });
  }));
  tool('cancels', {}, async () => text(String(cancelled)));
  tool('touch', {}, async () => {
    if (handler) handler.notify.resourceUpdated(WATCHED);
    else await m.server.sendResourceUpdated({ uri: WATCHED });
    return text('done');
  });
  const more = tool('grown', {}, async () => text('grown'));
  const settle = () => grown ? more.enable() : more.disable();
  settle();
  tool('grow', {}, async () => {
    grown = !grown;
    settle(); // which says so to this client
    if (handler) handler.notify.toolsChanged();
    return text('done');
  });
  // The SDK asks a legacy client by a request of its own: one way of writing it serves both eras.
  tool('ask', {}, async (_, { mcpReq }) => {
    const answer = acceptedContent(mcpReq.inputResponses, 'who');
    if (answer) return text(`${NAME} greets ${answer.name}`);
    const requestedSchema = { type: 'object', properties: { name: { type: 'string' } }, required: ['name'] };
    return inputRequired({ inputRequests: { who: inputRequired.elicit({ message: 'Who is there?', requestedSchema }) } });
  });
  tool('think', {}, async (_, { mcpReq }) => {
    const said = mcpReq.inputResponses?.thought;
    if (said) return text(`${NAME} was told ${said.content.text}`);
    const messages = [{ role: 'user', content: { type: 'text', text: 'Think.' } }];
    return inputRequired({ inputRequests: { thought: inputRequired.createMessage({ messages, maxTokens: 10 }) } });
  });
  const person = completable(z.string(), start => ['Ada', 'Alan'].filter(name => name.startsWith(start)));
  m.registerPrompt('greet', { argsSchema: z.object({ name: person }) }, ({ name }) => ({
    messages: [{ role: 'user', content: { type: 'text', text: `${NAME} greets ${name}` } }],
  }));
  m.registerResource('x', WATCHED, {}, async uri => ({ contents: [{ uri: uri.href, text: `the x of ${NAME}` }] }));
  const template = new ResourceTemplate('test://item/{number}', { list: undefined });
  m.registerResource('item', template, {}, async (uri, { number }) => ({
    contents: [{ uri: uri.href, text: `item ${number} of ${NAME}` }],
  }));
  m.server.setRequestHandler('resources/subscribe', async () => ({}));
  m.server.setRequestHandler('resources/unsubscribe', async () => ({}));
  return m;
}

async function serve(request, response) {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  const gone = new AbortController();
  response.on('close', () => gone.abort());
  const { method, headers, url } = request;
  const body = chunks.length ? Buffer.concat(chunks) : undefined;
  const asked = new Request(`http://127.0.0.1${url}`, { method, headers, body, signal: gone.signal });
  const answer = await handler.fetch(asked);
  response.writeHead(answer.status, Object.fromEntries(answer.headers));
  try {
    if (answer.body) for await (const chunk of answer.body) response.write(chunk);
  } catch {} // the client has gone
  response.end();
}

if (PORT) {
  handler = createMcpHandler(build);
  http.createServer(serve).listen(Number(PORT), '127.0.0.1');
} else {
  serveStdio(build);
}
