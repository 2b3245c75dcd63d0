// A client of claudemesh: it sends a sealed message to a peer, prints the answer and acknowledges it.
//   node --experimental-websocket mesh.mjs <name> <text>
import { randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { open, seal, sign } from './box.mjs'

const [name, text] = process.argv.slice(2)
const dir = process.env.CLAUDEMESH_CONFIG_DIR ?? `${homedir()}/.claudemesh`
const mesh = JSON.parse(readFileSync(`${dir}/config.json`)).meshes[0] // what `claudemesh join` wrote
const seed = Buffer.from(mesh.secretKey, 'hex').subarray(0, 32)

const ws = new WebSocket(mesh.brokerUrl)
const say = message => ws.send(JSON.stringify(message))

ws.onopen = () => {
  const timestamp = Date.now()
  say({
    type: 'hello', meshId: mesh.meshId, memberId: mesh.memberId, pubkey: mesh.pubkey,
    sessionId: `tutorial-${process.pid}`, pid: process.pid, cwd: process.cwd(), hostname: 'tutorial',
    timestamp, signature: sign(seed, `${mesh.meshId}|${mesh.memberId}|${mesh.pubkey}|${timestamp}`),
  })
}

const serve = {
  hello_ack: () => say({ type: 'list_peers', _reqId: 'who' }),

  peers_list({ peers }) {
    const to = peers.find(p => p.displayName === name)
    if (!to) return end(1, `nobody is called ${name}; here are: ${peers.map(p => p.displayName).join(', ')}`)
    const id = randomUUID() // kept over every resend: the broker delivers it once
    say({ type: 'send', id, targetSpec: to.pubkey, priority: 'next', client_message_id: id, ...seal(seed, mesh.pubkey, to.pubkey, text) })
  },

  ack: ({ messageId, error }) => error ? end(1, error) : console.log(`safe with the broker: ${messageId}`),

  push(m) {
    if (m.subtype === 'system') return // who comes and goes
    const opened = m.targetSpec ? null : open(seed, m.senderPubkey, m.nonce, m.ciphertext)
    console.log(`${m.senderName}: ${opened ?? '(not sealed for this key)'}`)
    say({ type: 'client_ack', brokerMessageId: m.messageId }) // not before the message is taken
    end(0)
  },

  error: ({ code, message }) => end(1, `${code}: ${message}`),
}

ws.onmessage = ({ data }) => {
  const message = JSON.parse(data)
  serve[message.type]?.(message) // unknown types and fields are ignored
}
ws.onclose = ({ code, reason }) => code === 1000 || end(1, `closed: ${code} ${reason}`)

function end(code, why) {
  if (why) console.error(why)
  process.exitCode = code
  ws.close(1000)
}
