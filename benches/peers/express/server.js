// The peer of `cargo xtask bench peers`: the same signed heartbeat, answered durably by Express, better-sqlite3, node:crypto and the
// TOON package, one transaction a heartbeat. It has what a load run needs of a target (docs/scenarios.md), and no more: no limits, no
// commands, no rollouts, no audit.
import { createHash, createPublicKey, generateKeyPairSync, sign, verify } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { decode, encode } from '@toon-format/toon';
import Database from 'better-sqlite3';
import express from 'express';

const [port, databaseFile, tokenFile] = process.argv.slice(2);
const token = readFileSync(tokenFile, 'utf8').trim();

const db = new Database(databaseFile);
db.pragma('journal_mode = WAL');
db.pragma('synchronous = FULL'); // an answer means that the heartbeat is on disk
db.exec(`
  CREATE TABLE devices (id INTEGER PRIMARY KEY, device_id TEXT UNIQUE NOT NULL, public_key BLOB NOT NULL,
    registered_at TEXT, boot_epoch INTEGER NOT NULL DEFAULT 0, seq INTEGER NOT NULL DEFAULT 0);
  CREATE TABLE heartbeats (id INTEGER PRIMARY KEY, device INTEGER NOT NULL, boot_epoch INTEGER NOT NULL, seq INTEGER NOT NULL,
    uptime_s INTEGER NOT NULL, received_at TEXT NOT NULL, body TEXT NOT NULL);
`);
const findDevice = db.prepare('SELECT * FROM devices WHERE device_id = ?');
const addDevice = db.prepare('INSERT INTO devices (device_id, public_key) VALUES (?, ?)');
const register = db.prepare('UPDATE devices SET registered_at = coalesce(registered_at, ?) WHERE id = ?');
// Only with a greater pair: a repeated document changes nothing.
const advance = db.prepare('UPDATE devices SET boot_epoch = ?, seq = ? WHERE id = ? AND (boot_epoch, seq) < (?, ?)');
const addHeartbeat = db.prepare(
  'INSERT INTO heartbeats (device, boot_epoch, seq, uptime_s, received_at, body) VALUES (?, ?, ?, ?, ?, ?)',
);
const newest = db.prepare('SELECT coalesce(max(id), 0) AS row FROM heartbeats');
const stored = db.prepare(
  `SELECT h.id, d.device_id, h.boot_epoch, h.seq, h.uptime_s, h.received_at FROM heartbeats h JOIN devices d ON d.id = h.device
   WHERE h.id > ? ORDER BY h.id LIMIT ?`,
);

const record = db.transaction((device, beat, now, body) => {
  if (advance.run(beat.boot_epoch, beat.seq, device.id, beat.boot_epoch, beat.seq).changes === 0) return false;
  addHeartbeat.run(device.id, beat.boot_epoch, beat.seq, beat.uptime_s, now, body);
  return true;
});

// The DER header of an Ed25519 public key: RFC 8410, section 4.
const SPKI = Buffer.from('302a300506032b6570032100', 'hex');
const publicKeyOf = (raw) => createPublicKey({ key: Buffer.concat([SPKI, raw]), format: 'der', type: 'spki' });
const keys = new Map(); // a key is parsed once

const server = generateKeyPairSync('ed25519');
const serverKey = server.publicKey.export({ format: 'der', type: 'spki' }).subarray(SPKI.length);
const keyId = `k${createHash('sha256').update(serverKey).digest('hex').slice(0, 16)}`;
const signed = (context, text) => sign(null, Buffer.from(`${context}\n${text}`), server.privateKey).toString('base64');

/** A document with the server's signature, bound to that of the request. */
function seal(status, sigDev, fields) {
  const body = `${encode(fields)}\nkey_id: ${keyId}\n`;
  return `${body}SIG_SERV: ${signed(`KS1 RESPONSE ${status} ${sigDev}`, body)}`;
}

const expiresAt = new Date(Date.now() + 90 * 24 * 3_600_000).toISOString();
const keysetBody =
  `type: keyset\nversion: 1\nthreshold: 1\nexpires_at: "${expiresAt}"\nkeys[1]{key_id,state,public_key}:\n` +
  `  ${keyId},SIGNING,${serverKey.toString('base64')}\n`;
const keyset = `${keysetBody}signatures[1]{key_id,signature}:\n  ${keyId},${signed('KS1 KEYSET', keysetBody)}\nkey_id: ${keyId}\n`;
const keysetAnswer = `${keyset}SIG_SERV: ${signed('KS1 RESPONSE 200 -', keyset)}`;

/** Reads a request as section 5 of the protocol says, or refuses it. */
function open(request, response, path) {
  const wire = request.body;
  const cut = wire.lastIndexOf('\n') + 1;
  const [body, last] = [wire.slice(0, cut), wire.slice(cut)];
  const sigDev = last.startsWith('SIG_DEV: ') ? last.slice('SIG_DEV: '.length) : '';
  let message;
  try {
    message = decode(body);
  } catch (error) {
    return refuse(response, 400, '-', 'MALFORMED', error.message);
  }
  const device = findDevice.get(message.device_id);
  if (!device) return refuse(response, 404, '-', 'UNKNOWN_DEVICE', 'unknown device');
  let key = keys.get(device.id);
  if (!key) keys.set(device.id, (key = publicKeyOf(device.public_key)));
  if (!verify(null, Buffer.from(`KS1 POST ${path}\n${body}`), key, Buffer.from(sigDev, 'base64'))) {
    return refuse(response, 401, '-', 'BAD_SIGNATURE', 'the signature is not by the key of the device');
  }
  return { device, message, body, sigDev };
}

function answer(response, status, text) {
  response.status(status).type('text/toon; charset=utf-8').send(text);
}

function refuse(response, status, sigDev, code, message) {
  answer(response, status, seal(status, sigDev, { ERR1: code, message, server_time: new Date().toISOString() }));
  return null;
}

const app = express();
app.disable('x-powered-by');
app.disable('etag');
app.use(express.text({ type: ['text/toon', 'text/csv'], limit: '64mb' }));

app.post('/register', (request, response) => {
  const opened = open(request, response, '/register');
  if (!opened) return;
  const now = new Date().toISOString();
  register.run(now, opened.device.id);
  const fields = {
    type: 'registered',
    device_id: opened.device.device_id,
    registered_at: opened.device.registered_at ?? now,
    next_beat_ms: 1000,
    keyset_version: 1,
    server_time: now,
  };
  answer(response, 200, seal(200, opened.sigDev, fields));
});

app.post('/heartbeat', (request, response) => {
  const opened = open(request, response, '/heartbeat');
  if (!opened) return;
  const { device, message, body, sigDev } = opened;
  const now = new Date().toISOString();
  if (!record(device, message, now, body)) {
    refuse(response, 409, sigDev, 'STALE_SEQUENCE', 'the pair is not greater than the one that is stored');
    return;
  }
  answer(response, 200, seal(200, sigDev, { type: 'next_beat', server_time: now, next_beat_ms: 60000, keyset_version: 1 }));
});

app.get('/keys', (_request, response) => answer(response, 200, keysetAnswer));

// What a load run asks an operator's API for.
app.use('/api', (request, response, next) => {
  if (request.get('authorization') === `Bearer ${token}`) return next();
  response.status(401).json({ detail: 'expected the admin token' });
});
app.post('/api/devices/import', (request, response) => {
  const rows = request.body.split('\n').slice(1).filter(Boolean);
  const columns = request.body.split('\n', 1)[0].split(',');
  const [name, key] = ['device_id', 'public_key'].map((column) => columns.indexOf(column));
  db.transaction(() => {
    for (const row of rows) {
      const fields = row.split(',');
      addDevice.run(fields[name], Buffer.from(fields[key], 'base64'));
    }
  })();
  response.json({ added: rows.length, unchanged: 0, revoked: 0 });
});
app.get('/api/heartbeats', (request, response) => {
  const limit = Number(request.query.limit ?? 500);
  const items = stored.all(Number(request.query.cursor ?? 0), limit).map(Object.values);
  const next_cursor = items.length === limit ? String(items.at(-1)[0]) : null;
  response.json({ items, last_row: newest.get().row, next_cursor });
});
for (const path of ['/api/commands', '/api/attendance', '/api/rollouts']) {
  app.get(path, (_request, response) => response.json({ items: [], last_row: 0, next_cursor: null }));
}
app.get('/api/limits', (_request, response) =>
  response.json({ limits: [], overload: { in_progress_max: 0 }, memory_bytes: 0 }),
);

app.listen(Number(port), '127.0.0.1', () => console.log(`listening on ${port}`));
