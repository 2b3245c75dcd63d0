// Signatures and sealing of claudemesh, with nothing but node's crypto, for the tutorial. It is not constant-time: a real client uses libsodium's crypto_box_easy.
import { createHash, createPrivateKey, createPublicKey, diffieHellman, randomBytes, sign as ed25519 } from 'node:crypto'

const secretKey = (oid, bytes) => createPrivateKey({ key: Buffer.concat([Buffer.from(`302e020100300506032b65${oid}04220420`, 'hex'), bytes]), format: 'der', type: 'pkcs8' })
const sha = (kind, ...parts) => parts.reduce((h, p) => h.update(p), createHash(kind)).digest()

/** sign returns the signature of a text by the ed25519 key of a seed, in hex. */
export const sign = (seed, text) => ed25519(null, Buffer.from(text), secretKey('70', seed)).toString('hex')

/** seal seals a text for one key: 16 random bytes of the nonce, then 8 that mark its direction. */
export function seal(seed, from, to, text) {
  const random = randomBytes(16)
  const mark = sha('sha256', 'claudemesh-direct-nonce|', Buffer.from(from, 'hex'), Buffer.from(to, 'hex'), random)
  const nonce = Buffer.concat([random, mark.subarray(0, 8)])
  const stream = keystream(boxKey(seed, to), nonce, 32 + Buffer.byteLength(text))
  const body = xor(Buffer.from(text), stream.subarray(32))
  return { nonce: nonce.toString('base64'), ciphertext: Buffer.concat([poly1305(stream, body), body]).toString('base64') }
}

/** open returns the text that a key has sealed for this one, or null if it has not. */
export function open(seed, from, nonce64, ciphertext64) {
  const box = Buffer.from(ciphertext64, 'base64'), body = box.subarray(16)
  const stream = keystream(boxKey(seed, from), Buffer.from(nonce64, 'base64'), 32 + body.length)
  return poly1305(stream, body).equals(box.subarray(0, 16)) ? xor(body, stream.subarray(32)).toString() : null
}

// boxKey is crypto_box_beforenm of the two ed25519 keys as x25519 ones.
function boxKey(seed, pubkey) {
  const publicKey = createPublicKey({ key: Buffer.concat([Buffer.from('302a300506032b656e032100', 'hex'), montgomery(pubkey)]), format: 'der', type: 'spki' })
  const privateKey = secretKey('6e', sha('sha512', seed).subarray(0, 32))
  return hsalsa(diffieHellman({ privateKey, publicKey }), Buffer.alloc(16))
}

// montgomery converts a public key: u = (1 + y) / (1 - y) modulo 2^255 - 19.
function montgomery(pubkey) {
  const p = 2n ** 255n - 19n, y = number(Buffer.from(pubkey, 'hex')) % 2n ** 255n
  let inverse = 1n
  for (let base = (1n - y + p) % p, e = p - 2n; e > 0n; e >>= 1n, base = base * base % p) if (e & 1n) inverse = inverse * base % p
  return bytes((1n + y) * inverse % p, 32)
}

// XSalsa20 and Poly1305, as crypto_secretbox uses them.
const rotations = [[4, 0, 12, 7], [8, 4, 0, 9], [12, 8, 4, 13], [0, 12, 8, 18]]
function rounds(x) {
  for (let i = 0; i < 20; i++)
    for (let k = 0; k < 4; k++)
      for (const [to, a, b, r] of rotations) {
        const at = n => i % 2 ? (n / 4 + k) % 4 + 4 * k : (n + 5 * k) % 16 // rows and columns in turn
        const sum = (x[at(a)] + x[at(b)]) | 0
        x[at(to)] ^= sum << r | sum >>> (32 - r)
      }
  return x
}
function state(key, input) {
  const k = i => key.readInt32LE(4 * i), n = i => input.readInt32LE(4 * i)
  return Int32Array.of(0x61707865, k(0), k(1), k(2), k(3), 0x3320646e, n(0), n(1), n(2), n(3), 0x79622d32, k(4), k(5), k(6), k(7), 0x6b206574)
}
function hsalsa(key, input) {
  const x = rounds(state(key, input))
  return Buffer.from(Int32Array.of(x[0], x[5], x[10], x[15], x[6], x[7], x[8], x[9]).buffer)
}
function keystream(key, nonce, length) {
  const sub = hsalsa(key, nonce.subarray(0, 16)), blocks = []
  for (let i = 0; i * 64 < length; i++) {
    const counter = Buffer.alloc(8); counter.writeUInt32LE(i)
    const start = state(sub, Buffer.concat([nonce.subarray(16), counter]))
    blocks.push(Buffer.from(rounds(start.slice()).map((word, j) => word + start[j]).buffer))
  }
  return Buffer.concat(blocks).subarray(0, length)
}
function poly1305(key, message) {
  const r = number(key.subarray(0, 16)) & 0x0ffffffc0ffffffc0ffffffc0fffffffn
  let sum = 0n
  for (let i = 0; i < message.length; i += 16) {
    const block = message.subarray(i, i + 16)
    sum = (sum + number(block) + (1n << BigInt(8 * block.length))) * r % (2n ** 130n - 5n)
  }
  return bytes((sum + number(key.subarray(16, 32))) % 2n ** 128n, 16)
}
const number = b => BigInt(`0x${Buffer.from(b).reverse().toString('hex') || '0'}`)
const bytes = (n, length) => Buffer.from(n.toString(16).padStart(2 * length, '0'), 'hex').reverse()
const xor = (a, b) => a.map((byte, i) => byte ^ b[i])
