// `node --import loopback.mjs server.js`: every listener of that server is bound to 127.0.0.1, whatever it asks for.
import net from "node:net";

const listen = net.Server.prototype.listen;
net.Server.prototype.listen = function (port, ...rest) {
  if (!["number", "string"].includes(typeof port)) return listen.call(this, port, ...rest);
  return listen.call(this, { port: Number(port), host: "127.0.0.1" }, ...rest.filter((x) => typeof x === "function"));
};
