//! The messages that typed libraries change (docs/testing.md), and what has to become of the few places that a
//! gateway edits.
//!
//! Places: `@ID@`, `@NAME@`, `@TOKEN@`, `@URI@`; `@META@` and `@KEYS@`, where what a request says about its client stands (a `_meta`
//! of its own, or the first keys of one that is there); `@RT@` and `@RT0@`, where a result says that it is complete; `@TASK@`, the id of
//! a task, which is sealed where the gateway has to find its provider again.

/// What a request has in `params` behind (or around) what it names. The method comes first.
pub const REQUESTS: [(&str, &str); 21] = [
    (
        "tools/call",
        r#"{"jsonrpc":"2.0","id":@ID@,"method":"tools/call","params":{@META@"name":@NAME@,"arguments":{"c":"@CASE@"}}}"#,
    ),
    (
        "tools/call",
        r#"{"jsonrpc":"2.0","id":@ID@,"method":"tools/call","params":{@META@"name":@NAME@,"arguments":null,"c":"@CASE@"}}"#,
    ),
    ("tools/call", r#"{"jsonrpc":"2.0","id":@ID@,"method":"tools/call","params":{@META@"c":"@CASE@","name":@NAME@}}"#),
    (
        "tools/call",
        r#"{"jsonrpc":"2.0","id":@ID@,"method":"tools/call","params":{@META@"name":@NAME@,"task":{"ttl":60000,"x":1.10},"arguments":{"c":"@CASE@"}}}"#,
    ),
    (
        "tools/call",
        r#"{"jsonrpc":"2.0","id":@ID@,"method":"tools/call","params":{@META@"vendor":[null,{"b":1,"a":2}],"name":@NAME@,"arguments":{"c":"@CASE@"},"later":true}}"#,
    ),
    (
        "tools/call",
        r#"{"jsonrpc":"2.0","id":@ID@,"method":"tools/call","params":{@META@"name":@NAME@,"arguments":{"c":"@CASE@","n":[12345678901234567890123,1.10,-0,-0.0,1e400,1E-7,0.1234567890123456789,9007199254740993]}}}"#,
    ),
    (
        "tools/call",
        r#"{"jsonrpc":"2.0","id":@ID@,"method":"tools/call","params":{@META@"name":@NAME@,"arguments":{"z":1,"a":2,"m":3,"a":4,"\u0061":5,"c":"@CASE@"}}}"#,
    ),
    (
        "tools/call",
        r#"{"jsonrpc":"2.0","id":@ID@,"method":"tools/call","params":{@META@"name":@NAME@,"arguments":{"c":"@CASE@","\ud800":"\udfff\ud83d\ude00","n\u0061me":"x","\/":"\/","é":"日本\u2028 \u2029","":""}}}"#,
    ),
    (
        "tools/call",
        r#"{"jsonrpc":"2.0","id":@ID@,"method":"tools/call","params":{"_meta":{@KEYS@"traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01","tracestate":"a=1","baggage":"b=2","com.example/x":{"n":1.0}},"name":@NAME@,"arguments":{"c":"@CASE@"}}}"#,
    ),
    (
        "tools/call",
        r#"{"jsonrpc":"2.0","id":@ID@,"method":"tools/call","params":{"name":@NAME@,"arguments":{"c":"@CASE@"},"_meta":{@KEYS@"progressToken":@TOKEN@,"x":"progressToken"}}}"#,
    ),
    (
        "tools/call",
        " { \"vendor\" : {\"id\":7} ,\n \"id\"\t:\t@ID@ , \"method\" :\r\n\"tools/call\" ,\"params\" : {@META@ \"arguments\" : { \"c\" : \"@CASE@\" } , \"name\" : @NAME@ } , \"jsonrpc\" : \"2.0\" } ",
    ),
    (
        "tools/call",
        r#"{"params":{@META@"name":@NAME@,"arguments":{"c":"@CASE@"}},"method":"tools\/call","jsonrpc":"2.0","id":@ID@}"#,
    ),
    (
        "tools/call",
        r#"{"jsonrpc":"2.0","id":@ID@,"method":"tools/call","params":{@META@"name":@NAME@,"arguments":{"name":"@CASE@","uri":"hangar://x/y","id":1,"progressToken":2,"_meta":{"progressToken":3}}}}"#,
    ),
    (
        "prompts/get",
        r#"{"jsonrpc":"2.0","id":@ID@,"method":"prompts/get","params":{@META@"name":@NAME@,"arguments":{"c":"@CASE@","n":"1.10"},"vendor":0.10}}"#,
    ),
    (
        "prompts/get",
        r#"{"jsonrpc":"2.0","id":@ID@,"method":"prompts/get","params":{"_meta":{@KEYS@"progressToken":@TOKEN@},"x":"@CASE@","name":@NAME@}}"#,
    ),
    (
        "resources/read",
        r#"{"jsonrpc":"2.0","id":@ID@,"method":"resources/read","params":{@META@"uri":@URI@,"vendor":{"uri":"test://other"}}}"#,
    ),
    (
        "resources/read",
        r#"{"jsonrpc":"2.0","id":@ID@,"method":"resources/read","params":{"a":1.0,"_meta":{@KEYS@"progressToken":@TOKEN@},"uri":@URI@}}"#,
    ),
    (
        "completion/complete",
        r#"{"jsonrpc":"2.0","id":@ID@,"method":"completion/complete","params":{@META@"ref":{"type":"ref/prompt","title":"x","name":@NAME@},"argument":{"name":"a","value":"@CASE@"},"context":{"arguments":{"b":"1"}},"x":[]}}"#,
    ),
    (
        "tools/call",
        r#"{"jsonrpc":"2.0","id":@ID@,"method":"tools/call","params":{@META@"name":@NAME@,"arguments":{"c":"@CASE@","deep":[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[["bottom"]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]}}}"#,
    ),
    (
        "tools/call",
        r#"{"jsonrpc":"2.0","id":@ID@,"method":"tools/call","params":{@META@"name":@NAME@,"arguments":["@CASE@",{"not":"an object"}],"temperature":0.1}}"#,
    ),
    (
        "tools/call",
        r#"{"jsonrpc":"2.0","id":@ID@,"method":"tools/call","params":{"_meta":{@KEYS@"io.modelcontextprotocol/related-task":{"taskId":"@CASE@"},"progressToken":@TOKEN@},"inputResponses0":{},"name":@NAME@}}"#,
    ),
];

pub const ANSWERS: [&str; 21] = [
    r#"{"jsonrpc":"2.0","id":@ID@,"result":{@RT@"content":[{"type":"text","text":"a\tb\u00e9","annotations":{"priority":0.50,"x-unknown":[1]}},{"type":"vendor/block","b":1,"a":2}]}}"#,
    r#"{"jsonrpc":"2.0","id":@ID@,"result":{@RT@"content":[],"structuredContent":null}}"#,
    r#"{"jsonrpc":"2.0","id":@ID@,"result":{@RT@"content":[],"structuredContent":[1.10,{"z":1,"a":1e400}],"isError":false}}"#,
    r#"{"jsonrpc":"2.0","id":@ID@,"result":{@RT@"tools":[{"name":"x"}],"contents":[],"messages":[],"completion":{},"action":"accept","extra":true}}"#,
    r#"{"jsonrpc":"2.0","id":@ID@,"result":{@RT@"task":{"taskId":@TASK@,"status":"working","ttl":null,"pollInterval":1.0,"createdAt":"x"}}}"#,
    r#"{"jsonrpc":"2.0","id":@ID@,"result":{"resultType":"vendor.kind","ttlMs":7.50,"cacheScope":"galaxy","n":[12345678901234567890123,-0,0.1234567890123456789]}}"#,
    r#"{"jsonrpc":"2.0","id":@ID@,"result":{@RT@"content":[{"type":"text","text":"x"}],"_meta":{"com.example/k":1.0,"progressToken":7,"io.modelcontextprotocol/serverInfo":{"name":"u"}}}}"#,
    r#"{"jsonrpc":"2.0","id":@ID@,"error":{"code":-32000,"message":"m\u00e9","data":{"z":[1.10],"a":null},"vendor":1}}"#,
    r#"{"jsonrpc":"2.0","id":@ID@,"error":{"code":-32000123456789,"message":"far"}}"#,
    r#"{"jsonrpc":"2.0","id":@ID@,"error":{"code":1.5e3,"message":"odd","data":"\ud800"}}"#,
    r#"{"jsonrpc":"2.0","id":@ID@,"result":{@RT0@}}"#,
    r#"{"jsonrpc":"2.0","id":@ID@,"result":{"ttlMs":0.5,"resultType":"complete","cacheScope":"public","content":[]}}"#,
    r#"{"jsonrpc":"2.0","id":@ID@,"result":{@RT@"content":[{"type":"text","text":"no"}],"isError":true,"x":{"isError":1}}}"#,
    r#"{"jsonrpc":"2.0","id":@ID@,"result":{@RT@"messages":[{"role":"assistant","content":{"type":"audio","data":"AA==","mimeType":"audio/wav","x":1}}],"description":""}}"#,
    r#"{"jsonrpc":"2.0","id":@ID@,"result":{@RT@"messages":[{"role":"robot","content":{"type":"resource_link","uri":"test://a","name":"n","icons":[{"src":"x","sizes":["any"]}]}}]}}"#,
    r#"{"jsonrpc":"2.0","id":@ID@,"result":{@RT@"contents":[{"uri":@URI@,"text":"t","x":1.10},{"uri":"test://other","blob":"AA=="}],"y":{"uri":1}}}"#,
    r#"{"jsonrpc":"2.0","id":@ID@,"result":{@RT@"vendor":{"contents":0},"contents":[{"mimeType":"a/b","uri":@URI@,"_meta":{"n":1.0}}]}}"#,
    r#"{"jsonrpc":"2.0","id":@ID@,"result":{@RT@"completion":{"values":["a",7],"total":1.0,"hasMore":null,"x":0}}}"#,
    r#"{ "result" : {@RT@ "content" : [ ] , "temperature" : 0.1 , "a" : 1, "a" : 2, "\u0061" : 3 } , "id" : @ID@ , "jsonrpc" : "2.0" , "vendor" : 1 }"#,
    r#"{"jsonrpc":"2.0","id":@ID@,"result":["no","object",1.10]}"#,
    r#"{"jsonrpc":"2.0","id":@ID@,"result":null}"#,
];

/// On their way to the client before the answer. Those with a token belong to requests that have one.
pub const NOTES: [&str; 10] = [
    r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":@TOKEN@,"progress":0.50,"total":1}}"#,
    r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progress":1e2,"message":"m","vendor":{"progressToken":9},"progressToken":@TOKEN@}}"#,
    r#"{"method":"notifications/progress","params":{ "progressToken" : @TOKEN@ , "progress":12345678901234567890123},"jsonrpc":"2.0","x":1}"#,
    r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"error","logger":"l","data":{"z":1.10,"a":"\ud800"},"vendor":1}}"#,
    r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"data":null,"level":"emergency","_meta":{"a":1.0}}}"#,
    r#"{"jsonrpc":"2.0","method":"notifications/vendor/thing","params":{"b":1,"a":-0}}"#,
    r#"{"jsonrpc":"2.0","method":"notifications/vendor/list","params":[1.10,"x",null]}"#,
    r#"{"jsonrpc":"2.0","method":"notifications/vendor/bare"}"#,
    r#"{"jsonrpc":"2.0","method":"notifications/tasks/status","params":{"taskId":@TASK@,"status":"working","ttl":null,"x":1.0}}"#,
    r#"{"jsonrpc":"2.0","method":"notifications/elicitation/complete","params":{"elicitationId":"e","x":[]}}"#,
];

/// What a server asks in the middle (its params, raw; empty: none), and what the client answers (raw).
pub const ASKS: [(&str, &str, &str); 7] = [
    (
        "elicitation/create",
        r#"{"message":"?","requestedSchema":{"type":"object","properties":{"z":{"type":"number","default":1.10},"a":{"type":"string","x-v":1}}}}"#,
        r#"{"action":"accept","content":{"z":1.10,"a":"\ud800","a":"twice"},"v":1}"#,
    ),
    (
        "elicitation/create",
        r#"{"mode":"url","url":"https://example.com/?a=1\u0026b","elicitationId":"e-1","message":"go","v":null}"#,
        r#"{"action":"decline"}"#,
    ),
    (
        "elicitation/create",
        r#"{ "requestedSchema" : {} , "message" : "m" , "_meta" : { "n" : 1.0 } }"#,
        r#"{ "action" : "cancel" , "_meta" : {"x":-0} }"#,
    ),
    (
        "sampling/createMessage",
        r#"{"messages":[{"role":"user","content":{"type":"text","text":"t"}}],"maxTokens":10,"temperature":0.1,"vendor":1e400}"#,
        r#"{"role":"assistant","content":{"type":"vendor","x":1.10},"model":"m","stopReason":"odd","v":[12345678901234567890123]}"#,
    ),
    (
        "sampling/createMessage",
        r#"{"maxTokens":1.0,"messages":[],"tools":[{"name":"t","inputSchema":{"z":1,"a":2}}],"toolChoice":{"mode":"none","x":0}}"#,
        r#"{"model":"m","role":"assistant","content":[{"type":"tool_use","id":"1","name":"t","input":{"b":1,"a":2}}]}"#,
    ),
    ("roots/list", "", r#"{"roots":[{"uri":"file:///a","name":"n","x":1.10},{"uri":"file:///\u00e9"}],"v":{}}"#),
    ("roots/list", r#"{"_meta":{"x":1.0}}"#, r#"{"roots":[]}"#),
];

/// Entries of lists. Only the name (or URI) of each is changed.
pub const TOOLS: [&str; 5] = [
    r#"{"name":@NAME@,"inputSchema":{"type":"object"}}"#,
    r#"{"inputSchema":{"type":"object","properties":{"z":{"minimum":1.10},"a":{"maximum":1e400}},"required":[],"$schema":"x","x-own":{"name":"n"}},"name":@NAME@,"execution":{"taskSupport":"optional","x":1}}"#,
    r#"{"title":"T\u00e9","x-vendor":[12345678901234567890123],"name":@NAME@,"annotations":{"readOnlyHint":true,"unknownHint":0.50},"inputSchema":{"type":"object","$ref":"https://example.com/never-fetched"}}"#,
    r#"{ "name" : @NAME@ , "icons" : [ { "src" : "data:," , "theme":"dark" } ] , "outputSchema" : true , "_meta" : { "ui/x" : { "a" : -0 } } , "inputSchema" : { "type" : "object" } }"#,
    r#"{"name":@NAME@,"inputSchema":{"type":"object","a":1,"a":2,"\ud800":"\/"},"description":"\u2028 日本"}"#,
];
