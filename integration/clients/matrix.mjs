// The official TypeScript SDK, either line of it, through the checks of the matrix: `matrix.mjs sdk|client TARGETS`, and the same
// lines as matrix.py beside this file.
import { setTimeout as sleep } from 'node:timers/promises';

const [line, ask] = [process.argv[2], JSON.parse(process.argv[3])];
const TWO = line === 'client';
const WATCHED = 'test://x';
const from = path => import(`@modelcontextprotocol/${line}${path}`);
const { Client } = await from(TWO ? '' : '/client/index.js');
const { StdioClientTransport } = await from(TWO ? '/stdio' : '/client/stdio.js');
const { StreamableHTTPClientTransport } = await from(TWO ? '' : '/client/streamableHttp.js');
const types = TWO ? undefined : await from('/types.js');

const say = line => process.stdout.write(JSON.stringify(line) + '\n');
const words = error => `${error.name}: ${error.message}`.slice(0, 400);
function check(true_, what) {
  if (!true_) throw new Error(typeof what === 'string' ? what : JSON.stringify(what)?.slice(0, 300));
}

function build(mode, heard) {
  const capabilities = { elicitation: { form: {} }, sampling: {} };
  const options = TWO ? { capabilities, versionNegotiation: { mode: mode.startsWith('2') ? { pin: mode } : mode } } : { capabilities };
  const client = new Client({ name: 'matrix', version: '1' }, options);
  const on = (method, schema, perform) => client.setNotificationHandler(TWO ? method : types[schema], perform);
  const answer = (method, schema, perform) => client.setRequestHandler(TWO ? method : types[schema], perform);
  on('notifications/message', 'LoggingMessageNotificationSchema', n => void heard.logs.push(n.params.data));
  on('notifications/resources/updated', 'ResourceUpdatedNotificationSchema', n => void heard.updated.push(n.params.uri));
  on('notifications/tools/list_changed', 'ToolListChangedNotificationSchema', () => void heard.changed++);
  answer('elicitation/create', 'ElicitRequestSchema', async () => ({ action: 'accept', content: { name: 'Ada' } }));
  answer('sampling/createMessage', 'CreateMessageRequestSchema', async () =>
    ({ role: 'assistant', model: 'm', content: { type: 'text', text: 'deep' } }));
  return client;
}

function checks(client, heard, { name, prefix, uris, patience }, modern) {
  const call = (tool, args = {}, options, meta) => {
    const params = { name: prefix + tool, arguments: args, ...(meta && { _meta: meta }) };
    return TWO ? client.callTool(params, options) : client.callTool(params, undefined, options);
  };
  const says = async (wanted, ...asked) => {
    const answer = await call(...asked);
    check(answer.content?.[0]?.text === wanted, `${asked[0]} says ${JSON.stringify(answer.content)}`.slice(0, 300));
  };
  const every = async (page, key) => {
    const found = [];
    let cursor;
    do {
      const answer = await page(cursor ? { cursor } : {}, TWO ? { cacheMode: 'bypass' } : {});
      found.push(...answer[key]);
      cursor = answer.nextCursor;
    } while (cursor);
    return found;
  };
  const tools = () => every((...a) => client.listTools(...a), 'tools');
  const until = async (true_, seconds = patience) => {
    for (let n = 0; n < seconds * 20 && !true_(); n++) await sleep(50);
    check(true_(), `nothing for ${seconds} s: ${JSON.stringify(heard)}`.slice(-300));
  };
  const read = async uri => (await client.readResource({ uri: uris + uri })).contents[0].text;
  const refused = async perform => {
    let answer;
    try { answer = await perform(); } catch { return; }
    check(answer.isError, `taken: ${JSON.stringify(answer)}`.slice(0, 300));
  };
  return {
    async tools() {
      check((await tools()).some(tool => tool.name === `${prefix}echo`), 'no echo');
      await says(`${name}: hi`, 'echo', { text: 'hi' });
    },
    async structured() {
      check((await tools()).find(tool => tool.name === `${prefix}add`)?.outputSchema?.properties.sum, 'no output schema');
      const { structuredContent } = await call('add', { a: 1, b: 2 });
      check(JSON.stringify(structuredContent) === '{"sum":3}', structuredContent);
    },
    async errors() {
      const answer = await call('fail');
      check(answer.isError && answer.content[0].text.includes('broken on purpose'), answer);
      await refused(() => call('nothing_of_this_name'));
      await refused(() => read('test://nowhere'));
    },
    async progress() {
      const seen = [];
      await says('done', 'steps', {}, { onprogress: p => void seen.push([p.progress, p.total]) });
      await until(() => seen.length >= 2);
      check(JSON.stringify(seen) === '[[1,2],[2,2]]', seen);
    },
    async logging() {
      if (!modern) await client.setLoggingLevel('info');
      await says('done', 'speak', {}, undefined, modern && { 'io.modelcontextprotocol/logLevel': 'info' });
      await until(() => heard.logs.includes(`log of ${name}`));
    },
    elicitation: () => says(`${name} greets Ada`, 'ask'),
    sampling: () => says(`${name} was told deep`, 'think'),
    async prompts() {
      const prompts = await every((...a) => client.listPrompts(...a), 'prompts');
      check(prompts.some(prompt => prompt.name === `${prefix}greet`), prompts);
      const { messages } = await client.getPrompt({ name: `${prefix}greet`, arguments: { name: 'Bo' } });
      check(messages[0].content.text === `${name} greets Bo`, messages);
    },
    async completion() {
      const ref = { type: 'ref/prompt', name: `${prefix}greet` };
      const { completion } = await client.complete({ ref, argument: { name: 'name', value: 'A' } });
      check(completion.values.join() === 'Ada,Alan', completion);
    },
    async resources() {
      const resources = await every((...a) => client.listResources(...a), 'resources');
      check(resources.some(resource => resource.uri === uris + WATCHED), resources);
      check(await read(WATCHED) === `the x of ${name}`, 'another text');
    },
    async templates() {
      const templates = await every((...a) => client.listResourceTemplates(...a), 'resourceTemplates');
      check(templates.some(template => template.uriTemplate === `${uris}test://item/{number}`), templates);
      check(await read('test://item/7') === `item 7 of ${name}`, 'another text');
    },
    async subscribe() {
      const uri = uris + WATCHED;
      if (!modern) await client.subscribeResource({ uri });
      heard.updated.length = 0;
      await says('done', 'touch');
      await until(() => heard.updated.includes(uri));
      if (!modern) await client.unsubscribeResource({ uri });
    },
    async list_changed() {
      const told = heard.changed;
      await says('done', 'grow');
      await until(() => heard.changed > told);
    },
    async cancel() {
      const count = async () => Number((await call('cancels')).content[0].text);
      const before = await count();
      await refused(() => call('wait', {}, { signal: AbortSignal.timeout(300) }));
      for (let n = 0; n < 30; n++) {
        if (await count() > before) return;
        await sleep(100);
      }
      throw new Error('the server saw no cancellation within 3 s');
    },
  };
}

async function within(seconds, perform) {
  const late = new AbortController();
  const timer = sleep(seconds * 1000, undefined, late).then(() => { throw new Error(`no end within ${seconds} s`); }, () => {});
  try { return await Promise.race([perform(), timer]); } finally { late.abort(); }
}

async function converse(target) {
  const heard = { logs: [], updated: [], changed: 0 };
  const client = build(ask.mode, heard);
  const [command, ...args] = target.command ?? [];
  const transport = target.url
    ? new StreamableHTTPClientTransport(new URL(target.url))
    : new StdioClientTransport({ command, args, env: { PATH: process.env.PATH, ...target.env }, stderr: 'inherit' });
  let protocol;
  const setProtocol = transport.setProtocolVersion?.bind(transport); // 1.x tells its transport alone
  transport.setProtocolVersion = version => { protocol = version; setProtocol?.(version); };
  await within(60, () => client.connect(transport));
  protocol = TWO ? client.getNegotiatedProtocolVersion() : protocol;
  say({ servers: target.servers.map(server => server.name), protocol });
  const modern = TWO && client.getProtocolEra() === 'modern';
  if (modern) {
    const resourceSubscriptions = target.servers.map(server => server.uris + WATCHED);
    await client.listen({ toolsListChanged: true, resourceSubscriptions }).catch(error => say({ note: words(error) }));
  }
  await within(90, () => client.listTools()).catch(() => {}); // everything behind a gateway starts at the first listing
  for (let told = -1, n = 0; told !== heard.changed && n < 20; n++) { // servers just started may say that their lists have changed
    told = heard.changed;
    await sleep(300);
  }
  for (const server of target.servers) {
    for (const [name, perform] of Object.entries(checks(client, heard, server, modern))) {
      try {
        await within(30, perform);
        say({ server: server.name, check: name, outcome: 'yes' });
      } catch (error) {
        say({ server: server.name, check: name, outcome: 'no', detail: words(error) });
      }
    }
  }
  await within(10, () => client.close());
}

for (const target of ask.targets) {
  try {
    await converse(target);
  } catch (error) {
    say({ servers: target.servers.map(server => server.name), error: words(error) });
  }
}
process.exit(0);
