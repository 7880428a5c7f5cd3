// The page "Try it": adlib's PatchCore in the browser. Good photographs become a memory of patches;
// a new one is as anomalous, place by place, as its patch is far from the nearest of the memory.
// book/try_it.py makes the script that holds the network and the sample cells.
(() => {
  const MOST = 20, LARGEST = 2048, STRENGTH = 0.65; // photographs, pixels a side, opacity; ours
  const here = document.currentScript.src;
  const box = document.getElementById("detector");
  const [first, second] = box.querySelectorAll("fieldset");
  const status = box.querySelector("[role=status]");
  const figure = box.querySelector("figure");
  const pause = () => new Promise((go) => setTimeout(go));
  let network, memory = [], limits, busy = false;

  // --- the network -------------------------------------------------------------------------
  function unpacked(text) { // base64 of fp16, little-endian
    const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
    const halves = new Uint16Array(bytes.buffer);
    return Float32Array.from(halves, (h) => {
      const sign = h >> 15 ? -1 : 1, power = (h >> 10) & 31, part = h & 1023;
      return sign * (power ? 2 ** (power - 15) * (1 + part / 1024) : 2 ** -24 * part);
    });
  }

  function load() {
    if (network) return Promise.resolve(network);
    return new Promise((done, fail) => {
      const script = document.createElement("script");
      script.src = new URL("try_it_model.js", here).href;
      script.onload = () => {
        network = window.adlibNetwork;
        const all = unpacked(network.weights);
        let at = 0;
        const take = (n) => all.subarray(at, (at += n));
        for (const l of network.layers) {
          l.weight = take(l.out * l.each * l.side * l.side);
          l.bias = take(l.out);
        }
        done(network);
      };
      script.onerror = () => fail(new Error("The network's file is missing beside this page."));
      document.head.append(script);
    });
  }

  function pointwise(x, layer, area, y) { // four channels of the input at a time
    for (let o = 0; o < layer.out; o++)
      for (let i = 0; i < layer.each; i += 4) {
        const k = o * layer.each + i, to = o * area;
        const [a, b, c, d] = layer.weight.subarray(k, k + 4);
        const p = i * area, q = p + area, r = q + area, s = r + area;
        for (let n = 0; n < area; n++)
          y[to + n] += a * x[p + n] + b * x[q + n] + c * x[r + n] + d * x[s + n];
      }
  }

  function spatial(x, layer, rows, out, y) { // padded as TensorFlow does
    const { side, stride, each } = layer, inputs = x.length / (rows * rows);
    const top = Math.max((out - 1) * stride + side - rows, 0) >> 1;
    for (let o = 0; o < layer.out; o++)
      for (let i = 0; i < each; i++)
        for (let ky = 0; ky < side; ky++)
          for (let kx = 0; kx < side; kx++) {
            const from = (each === inputs ? i : o) * rows * rows;
            const w = layer.weight[((o * each + i) * side + ky) * side + kx];
            for (let r = 0; r < out; r++) {
              const row = r * stride + ky - top;
              if (row < 0 || row >= rows) continue;
              const at = from + row * rows + kx - top, to = (o * out + r) * out;
              const begin = Math.max(0, Math.ceil((top - kx) / stride));
              const end = Math.min(out, Math.floor((rows - 1 + top - kx) / stride) + 1);
              for (let n = begin; n < end; n++) y[to + n] += w * x[at + n * stride];
            }
          }
  }

  async function features(pixels) { // 3 x size x size in [0, 1] -> patches of length 1, rows first
    const { size, mean, std, layers } = network;
    let x = pixels.map((v, i) => (v - mean[(i / size / size) | 0]) / std[(i / size / size) | 0]);
    let rows = size;
    const before = [];
    for (const [i, layer] of layers.entries()) {
      before.push(x);
      const out = Math.ceil(rows / layer.stride), area = out * out;
      const y = new Float32Array(layer.out * area);
      for (let o = 0; o < layer.out; o++) y.fill(layer.bias[o], o * area, (o + 1) * area);
      if (layer.side === 1) pointwise(x, layer, area, y);
      else spatial(x, layer, rows, out, y);
      if (layer.relu6) for (let n = 0; n < y.length; n++) y[n] = Math.min(Math.max(y[n], 0), 6);
      if (layer.skip) {
        const old = before[i + 1 - layer.skip];
        for (let n = 0; n < y.length; n++) y[n] += old[n];
      }
      [x, rows] = [y, out];
      if (i % 8 === 7) await pause();
    }
    const area = rows * rows, width = x.length / area, patches = new Float32Array(x.length);
    for (let p = 0; p < area; p++) {
      let square = 0;
      for (let c = 0; c < width; c++) square += x[c * area + p] ** 2;
      for (let c = 0; c < width; c++) patches[p * width + c] = x[c * area + p] / Math.sqrt(square);
    }
    return { patches, width, area, rows };
  }

  // Largest cosine of each patch of `a` to any of `b`, kept where it is larger than before.
  function compare(a, b, best, back) {
    const { width, area } = a;
    for (let p = 0; p < area; p++)
      for (let q = 0; q < b.area; q++) {
        let s = 0, t = 0;
        for (let c = 0, i = p * width, j = q * width; c < width; c += 2) {
          s += a.patches[i + c] * b.patches[j + c];
          t += a.patches[i + c + 1] * b.patches[j + c + 1];
        }
        if (s + t > best[p]) best[p] = s + t;
        if (back && s + t > back[q]) back[q] = s + t;
      }
  }
  const distances = (best) => best.map((c) => Math.sqrt(Math.max(0, 2 - 2 * c)));
  const lowest = (n) => new Float32Array(n).fill(-1);

  // --- photographs -------------------------------------------------------------------------
  async function read(source) {
    const image = new Image();
    image.src = source;
    await image.decode();
    const shrink = Math.min(1, LARGEST / Math.max(image.naturalWidth, image.naturalHeight));
    const canvas = document.createElement("canvas");
    canvas.width = Math.max(1, Math.round(image.naturalWidth * shrink));
    canvas.height = Math.max(1, Math.round(image.naturalHeight * shrink));
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.fillStyle = "white"; // behind what is transparent
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.drawImage(image, 0, 0, canvas.width, canvas.height);
    return canvas;
  }

  function weights(from, to) { // Pillow's bilinear filter, which averages where it shrinks
    const scale = from / to, reach = Math.max(scale, 1);
    return Array.from({ length: to }, (_, i) => {
      const centre = (i + 0.5) * scale;
      const begin = Math.max(0, Math.floor(centre - reach + 0.5));
      const end = Math.min(from, Math.floor(centre + reach + 0.5));
      const each = [];
      for (let n = begin; n < end; n++)
        each.push(Math.max(0, 1 - Math.abs((n + 0.5 - centre) / reach)));
      const sum = each.reduce((a, b) => a + b);
      return [begin, each.map((w) => w / sum)];
    });
  }

  function resized(canvas, size) { // -> 3 x size x size in [0, 1]; rounded where Pillow rounds
    const { width, height } = canvas;
    const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
    const across = weights(width, size), down = weights(height, size);
    const narrow = new Float32Array(3 * height * size), out = new Float32Array(3 * size * size);
    for (let c = 0; c < 3; c++) {
      for (let r = 0; r < height; r++)
        across.forEach(([begin, each], i) => {
          let sum = 0;
          each.forEach((w, n) => { sum += w * data[4 * (r * width + begin + n) + c]; });
          narrow[(c * height + r) * size + i] = Math.round(sum);
        });
      down.forEach(([begin, each], r) => {
        for (let i = 0; i < size; i++) {
          let sum = 0;
          each.forEach((w, n) => { sum += w * narrow[(c * height + begin + n) * size + i]; });
          out[(c * size + r) * size + i] = Math.round(sum) / 255;
        }
      });
    }
    return out;
  }

  function overlay(canvas, map, rows) { // as adlib.figures.overlay
    const { width, height } = canvas, [low, high] = limits.scale;
    const picture = document.createElement("canvas");
    [picture.width, picture.height] = [width, height];
    const context = picture.getContext("2d");
    const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
    const drawn = context.createImageData(width, height);
    const place = (n, length) => { // of a pixel between the centres of two patches
      const at = Math.min(Math.max(((n + 0.5) * rows) / length - 0.5, 0), rows - 1);
      return [Math.floor(at), Math.min(Math.floor(at) + 1, rows - 1), at % 1];
    };
    const columns = Array.from({ length: width }, (_, i) => place(i, width));
    for (let r = 0; r < height; r++) {
      const [a, b, t] = place(r, height);
      for (let i = 0; i < width; i++) {
        const [c, d, u] = columns[i], at = 4 * (r * width + i);
        const upper = map[a * rows + c] * (1 - u) + map[a * rows + d] * u;
        const lower = map[b * rows + c] * (1 - u) + map[b * rows + d] * u;
        const level = Math.min(Math.max((upper * (1 - t) + lower * t - low) / (high - low), 0), 1);
        const colour = network.colours[Math.round(level * (network.colours.length - 1))];
        const gray = (data[at] + data[at + 1] + data[at + 2]) / 3, part = STRENGTH * level;
        for (let k = 0; k < 3; k++) drawn.data[at + k] = (1 - part) * gray + part * colour[k];
        drawn.data[at + 3] = 255;
      }
    }
    context.putImageData(drawn, 0, 0);
    return picture.toDataURL("image/png");
  }

  // --- the two steps -----------------------------------------------------------------------
  async function learn(sources) {
    if (sources.length < 3) throw new Error("At least three good photographs are needed.");
    const used = sources.slice(0, MOST), best = [], known = [];
    [memory, second.disabled, figure.hidden] = [[], true, true];
    for (const part of [first, second]) part.querySelector(".strip").replaceChildren();
    for (const [i, source] of used.entries()) {
      status.textContent = `Reading good photograph ${i + 1} of ${used.length} …`;
      await pause();
      const canvas = await read(source);
      show(first, canvas);
      known.push(await features(resized(canvas, network.size)));
      best.push(lowest(known[i].area));
      for (let j = 0; j < i; j++) compare(known[i], known[j], best[i], best[j]);
    }
    const maps = best.map(distances); // each photograph against the others
    const pixels = Float32Array.from(maps.flatMap((m) => [...m])).sort();
    const at = (share) => pixels[Math.round(share * (pixels.length - 1))];
    const low = at(0.5);
    limits = { scale: [low, low + 2 * (at(0.999) - low)], scores: maps.map((m) => Math.max(...m)) };
    [memory, second.disabled] = [known, false];
    const left = sources.length - used.length;
    status.textContent = `It knows ${used.length} good photographs` +
      `${left ? `; the other ${left} were left out` : ""}. Now show it a new part.`;
  }

  async function look(source, name) {
    status.textContent = "Looking …";
    await pause();
    const canvas = await read(source);
    const seen = await features(resized(canvas, network.size));
    const best = lowest(seen.area);
    for (const known of memory) compare(seen, known, best);
    const map = distances(best), score = Math.max(...map), limit = Math.max(...limits.scores);
    const pictures = [
      { alt: "the heat map over your photograph", src: overlay(canvas, map, seen.rows) },
      { alt: "your photograph", src: canvas.toDataURL("image/jpeg", 0.9) },
    ].map((each) => Object.assign(new Image(), each));
    await Promise.all(pictures.map((picture) => picture.decode()));
    const frame = figure.querySelector(".adlib-compare"), handle = frame.lastElementChild;
    frame.firstElementChild.replaceChildren(...pictures);
    handle.value = handle.max; // all of the heat map
    frame.style.setProperty("--cut", "100%");
    figure.hidden = false;
    box.found = { map: [...map], score, limit };
    const n = memory.length;
    status.textContent = (score > limit
      ? `${name} looks defective: its strangest patch is at distance ${score.toFixed(2)}, and no good ` +
        `photograph is beyond ${limit.toFixed(2)}.`
      : `${name} looks good: its strangest patch is at distance ${score.toFixed(2)}, and good ` +
        `photographs go up to ${limit.toFixed(2)}.`) +
      ` Expect about one false alarm in ${n + 1} good parts.`;
  }

  function show(part, canvas) {
    const small = document.createElement("canvas");
    small.width = small.height = 64;
    small.getContext("2d").drawImage(canvas, 0, 0, 64, 64);
    small.setAttribute("aria-hidden", "true");
    part.querySelector(".strip").append(small);
  }

  async function run(task) { // one at a time; what goes wrong is said, not logged
    if (busy) return;
    busy = true;
    box.setAttribute("aria-busy", "true");
    try {
      status.textContent = "Loading the network …";
      await load();
      await task();
    } catch (error) {
      status.textContent = error.name === "EncodingError"
        ? "One of these files is no picture that the browser can read." : error.message;
    }
    box.removeAttribute("aria-busy");
    busy = false;
  }

  function taking(part, then) { // files that are chosen or dropped
    const input = part.querySelector("input[type=file]"), zone = part.querySelector(".drop");
    const take = (files) => {
      const pictures = [...files].filter((file) => file.type.startsWith("image/"));
      if (!pictures.length) status.textContent = "No picture was among these files.";
      else run(async () => {
        const sources = pictures.map((file) => URL.createObjectURL(file));
        await then(sources, pictures).finally(() => sources.forEach(URL.revokeObjectURL));
      });
    };
    input.addEventListener("change", () => { take(input.files); input.value = ""; });
    zone.addEventListener("drop", (event) => {
      if (!part.disabled) take(event.dataTransfer.files);
    });
  }

  for (const kind of ["dragover", "drop"]) // else the browser would leave the page for the picture
    box.addEventListener(kind, (event) => event.preventDefault());
  taking(first, (sources) => learn(sources));
  taking(second, (sources, files) => look(sources[0], files[0].name));
  first.querySelector("button").addEventListener("click", () => run(async () => {
    await learn(network.good);
    const strip = second.querySelector(".strip");
    strip.replaceChildren(...network.new.map(([kind, source], i) => {
      const button = document.createElement("button"), image = new Image(64, 64);
      image.src = source;
      image.alt = `solar cell ${i + 1}, ${kind}`;
      button.type = "button";
      button.append(image);
      button.addEventListener("click", () =>
        run(() => look(source, `The cell that experts call ${kind}`)));
      return button;
    }));
  }));
  box.querySelector(".works").hidden = false;
})();
