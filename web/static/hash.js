// Web worker that hashes a file with SHA-256, piece by piece: browsers only hash buffers that are entirely in memory, and only on
// secure origins. Receives a File; posts {done} as progress and {sha256} at the end, or {error}.

const K = new Uint32Array(64), START = new Uint32Array(8);
{ // The constants are the first bits of the cube and square roots of the first primes (FIPS 180-4).
  const bits = (root) => Math.floor((root % 1) * 0x100000000);
  const isPrime = (n) => { for (let d = 2; d * d <= n; d++) if (n % d === 0) return false; return true; };
  for (let n = 2, i = 0; i < 64; n++) {
    if (!isPrime(n)) continue;
    if (i < 8) START[i] = bits(Math.sqrt(n));
    K[i++] = bits(Math.cbrt(n));
  }
}

class Sha256 {
  state = START.slice();
  words = new Uint32Array(64);
  rest = new Uint8Array(0);
  bytes = 0;

  /** Takes any number of bytes. */
  update(bytes) {
    this.bytes += bytes.length;
    if (this.rest.length) {
      const joined = new Uint8Array(this.rest.length + bytes.length);
      joined.set(this.rest);
      joined.set(bytes, this.rest.length);
      bytes = joined;
    }
    const whole = bytes.length - bytes.length % 64;
    this.blocks(bytes, whole);
    this.rest = bytes.slice(whole);
  }

  /** Returns the hash in hexadecimal digits. */
  hex() {
    const tail = new Uint8Array((this.rest.length < 56 ? 64 : 128));
    tail.set(this.rest);
    tail[this.rest.length] = 0x80;
    const view = new DataView(tail.buffer);
    view.setUint32(tail.length - 8, Math.floor(this.bytes / 0x20000000));
    view.setUint32(tail.length - 4, (this.bytes << 3) >>> 0);
    this.blocks(tail, tail.length);
    return [...this.state].map((word) => word.toString(16).padStart(8, '0')).join('');
  }

  blocks(bytes, end) {
    const w = this.words, view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    let [a0, b0, c0, d0, e0, f0, g0, h0] = this.state;
    for (let at = 0; at < end; at += 64) {
      for (let i = 0; i < 16; i++) w[i] = view.getUint32(at + 4 * i);
      for (let i = 16; i < 64; i++) {
        const x = w[i - 15], y = w[i - 2];
        const s0 = (x >>> 7 | x << 25) ^ (x >>> 18 | x << 14) ^ x >>> 3;
        const s1 = (y >>> 17 | y << 15) ^ (y >>> 19 | y << 13) ^ y >>> 10;
        w[i] = w[i - 16] + s0 + w[i - 7] + s1 | 0;
      }
      let a = a0, b = b0, c = c0, d = d0, e = e0, f = f0, g = g0, h = h0;
      for (let i = 0; i < 64; i++) {
        const s1 = (e >>> 6 | e << 26) ^ (e >>> 11 | e << 21) ^ (e >>> 25 | e << 7);
        const t1 = h + s1 + (e & f ^ ~e & g) + K[i] + w[i] | 0;
        const s0 = (a >>> 2 | a << 30) ^ (a >>> 13 | a << 19) ^ (a >>> 22 | a << 10);
        const t2 = s0 + (a & b ^ a & c ^ b & c) | 0;
        h = g; g = f; f = e; e = d + t1 | 0; d = c; c = b; b = a; a = t1 + t2 | 0;
      }
      a0 = a0 + a | 0; b0 = b0 + b | 0; c0 = c0 + c | 0; d0 = d0 + d | 0;
      e0 = e0 + e | 0; f0 = f0 + f | 0; g0 = g0 + g | 0; h0 = h0 + h | 0;
    }
    this.state.set([a0, b0, c0, d0, e0, f0, g0, h0]);
  }
}

self.onmessage = async ({ data: file }) => {
  try {
    const sha = new Sha256(), piece = 4 << 20;
    for (let at = 0; at < file.size; at += piece) {
      sha.update(new Uint8Array(await file.slice(at, at + piece).arrayBuffer()));
      self.postMessage({ done: Math.min(file.size, at + piece) });
    }
    self.postMessage({ sha256: sha.hex() });
  } catch (error) {
    self.postMessage({ error: error.message });
  }
};
