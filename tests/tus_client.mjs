// The official tus client against our server: an upload in chunks that is aborted and resumed, one whose first piece
// comes with its creation, one that is terminated. Usage: node tus_client.mjs FOLDER ENDPOINT FILE
import { createReadStream, readFileSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';

const [folder, endpoint, file] = process.argv.slice(2);
const tus = createRequire(`${folder}/package.json`)('tus-js-client');
const size = statSync(file).size, chunkSize = Math.ceil(size / 7);

function upload(options, until) {
  return new Promise((done, failed) => {
    const upload = new tus.Upload(createReadStream(file), {
      endpoint, uploadSize: size, chunkSize, metadata: { filename: 'tüs.mp4', filetype: 'video/mp4' },
      onError: failed, onSuccess: () => done(upload.url), ...options,
      onChunkComplete: (_, accepted) => {
        if (until && accepted >= until) { upload.abort(); done(upload.url); }
      },
    });
    upload.start();
  });
}

function check(ok, words) { if (!ok) { console.error(`failed: ${words}`); process.exit(1); } }

const half = await upload({}, size / 3);
const head = await fetch(half, { method: 'HEAD', headers: { 'Tus-Resumable': '1.0.0' } });
const offset = Number(head.headers.get('Upload-Offset'));
check(offset >= size / 3 && offset < size, `after the abort ${offset} of ${size} bytes are there`);
check(await upload({ uploadUrl: half }) === half, 'it went on with the same upload');
const again = await (await fetch(half)).json();
check(again.state === 'done' && again.video_id, `the upload is ${JSON.stringify(again)}`);

const whole = new tus.Upload(readFileSync(file), {
  endpoint, uploadDataDuringCreation: true, metadata: { filename: 'twin.mp4' },
  onError: (error) => check(false, error), onSuccess: async () => {
    const twin = await (await fetch(whole.url)).json();
    check(twin.duplicate && twin.video_id === again.video_id, `the twin is ${JSON.stringify(twin)}`);
    const ended = await upload({}, chunkSize);
    await tus.Upload.terminate(ended);
    check((await fetch(ended)).status === 404, 'what is terminated is gone');
    console.log('the real client is served');
  },
});
whole.start();
