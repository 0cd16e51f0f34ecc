// firebase-server on a free port of this machine. It says on standard output, one JSON text a line, which port, and
// answers there to each line of standard input: {"get": "path"} with the value, {"set": "path", "value": …} and
// {"drop": true}, which cuts every connection, with true. It ends with its standard input.
//
// Whoever is logged in as `me` may use one system, nobody the others.

import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const FirebaseServer = createRequire(import.meta.url)("firebase-server");

const tell = (what) => process.stdout.write(JSON.stringify(what) + "\n");

const server = new FirebaseServer({ port: 0, host: "127.0.0.1" }, "mock.firebase.test", null);
// Tokens count when they are signed with this and have not expired.
server.setAuthSecret("firebase-peer");
server.setRules({
    rules: { groups: { 7001000200030004: { ".read": "auth.uid === 'me'", ".write": "auth.uid === 'me'" } } },
});
server.wss.on("listening", () => tell(server.wss.address().port));

createInterface({ input: process.stdin })
    .on("line", async (line) => {
        const { get, set, value, drop } = JSON.parse(line);
        if (get !== undefined) {
            return tell((await server.getValue(server.baseRef.child(get))) ?? null);
        }
        if (set !== undefined) {
            // Its promise is that of a cloud which is not there.
            server.baseRef.child(set).set(value);
        }
        if (drop) {
            server.wss.clients.forEach((client) => client.terminate());
        }
        tell(true);
    })
    .on("close", () => process.exit(0));
