// A server of revision 2026-07-28 (TypeScript `server` 2): on stdio, or over HTTP on the loopback port that it is given.

import http from 'node:http';
import { McpServer, createMcpHandler, inputRequired } from '@modelcontextprotocol/server';
import { serveStdio } from '@modelcontextprotocol/server/stdio';
import { z } from 'zod';

const text = text => ({ content: [{ type: 'text', text }] });
let handler;

const factory = () => {
  const capabilities = { tools: { listChanged: true }, resources: { subscribe: true, listChanged: true }, logging: {} };
  const server = new McpServer({ name: 'modern', version: '1' }, { capabilities });
  server.registerTool('echo', { inputSchema: z.object({ text: z.string() }) }, async args => text(args.text));
  const region = z.string().meta({ 'x-mcp-header': 'Region' });
  server.registerTool('region', { inputSchema: z.object({ region }) }, async args => text(args.region));
  server.registerTool('ask', { inputSchema: z.object({}) }, async (_, context) => {
    if (context.mcpReq.inputResponses) return text(JSON.stringify(context.mcpReq.inputResponses));
    const requestedSchema = { type: 'object', properties: { name: { type: 'string', default: 'me' } } };
    return inputRequired({ inputRequests: { q: inputRequired.elicit({ message: 'Who?', requestedSchema }) } });
  });
  server.registerTool('log', { inputSchema: z.object({}) }, async (_, context) => {
    await context.mcpReq.log('info', 'hello log');
    return text('ok');
  });
  server.registerTool('touch', { inputSchema: z.object({}) }, async () => {
    if (handler) handler.notify.resourceUpdated('test://x');
    else server.server.sendResourceUpdated({ uri: 'test://x' });
    return text('ok');
  });
  server.registerResource('x', 'test://x', {}, async uri => ({ contents: [{ uri: uri.href, text: 'the x' }] }));
  return server;
};

if (process.argv[2]) {
  handler = createMcpHandler(factory);
  const serve = async (request, response) => {
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    const gone = new AbortController();
    response.on('close', () => gone.abort());
    const { method, headers, url } = request;
    const body = chunks.length ? Buffer.concat(chunks) : undefined;
    const answer = await handler.fetch(new Request(`http://127.0.0.1${url}`, { method, headers, body, signal: gone.signal }));
    response.writeHead(answer.status, Object.fromEntries(answer.headers));
    if (answer.body) for await (const chunk of answer.body) response.write(chunk);
    response.end();
  };
  http.createServer(serve).listen(Number(process.argv[2]), '127.0.0.1');
} else {
  serveStdio(factory);
}
