"use strict";
// Draws the shape with WebGL 2. A texture with one entry for each part, or instance of a part, says its colour and whether
// it is shown, so that a click changes this texture alone and never the shape.

const data = JSON.parse(document.getElementById("data").textContent);
const view = document.getElementById("view");
const canvas = document.getElementById("canvas");
const legend = document.getElementById("legend");
const hover = document.getElementById("hover");
const mode = document.getElementById("mode");
const scale = document.getElementById("scale");
const percent = (share) => (100 * share).toFixed(1) + " %";

// ---- data ----

async function unpack() {
  const packed = Uint8Array.from(atob(data.blob), (character) => character.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  const buffer = await new Response(stream).arrayBuffer();
  const arrays = {};
  let start = 0;
  for (const [name, type, length] of data.arrays) {
    const Type = { u1: Uint8Array, u2: Uint16Array, u4: Uint32Array }[type];
    const end = start + length * Type.BYTES_PER_ELEMENT;
    arrays[name] = new Type(buffer.slice(start, end));
    start = end;
  }
  return arrays;
}

// Groups are what can have a colour of its own: the instances of each part if they are known, else the parts. Part -1, none
// of these, comes last. Returns the group of every face or point, and the part and the number of each group.
function groupsOf(labels, instances) {
  const none = data.parts.length - 1;
  const groups = [];
  const index = new Map();
  const of = new Uint16Array(labels.length);
  const ids = data.parts.map(() => new Set());
  for (let i = 0; i < labels.length; i++) if (instances) ids[Math.min(labels[i], none)].add(instances[i]);
  data.parts.forEach((_, part) => {
    const own = instances && part !== none ? [...ids[part]].sort((a, b) => a - b) : [0];
    own.forEach((id, number) => {
      index.set(part * 65536 + id, groups.length);
      groups.push({ part, number, count: own.length });
    });
  });
  for (let i = 0; i < labels.length; i++) {
    const part = Math.min(labels[i], none);
    of[i] = index.get(part * 65536 + (instances && part !== none ? instances[i] : 0));
  }
  return { of, groups };
}

// Unit normals at the corners of faces, as bytes: smooth over shared positions, flat at edges sharper than 40 degrees.
// A face counts by its angle at the corner, so that it does not matter how polygons are cut into triangles.
function cornerNormals(points, faces, size) {
  const welded = new Uint32Array(points.length / 3);
  const seen = new Map();
  for (let i = 0; i < welded.length; i++) {
    const key = (points[3 * i] * 65536 + points[3 * i + 1]) * 65536 + points[3 * i + 2];
    if (!seen.has(key)) seen.set(key, seen.size);
    welded[i] = seen.get(key);
  }
  const sum = new Float32Array(3 * seen.size);
  const flat = new Float32Array(faces.length);  // unit normals of faces
  const edges = [new Float64Array(3), new Float64Array(3), new Float64Array(3)];  // edge k starts at corner k
  for (let f = 0; f < faces.length; f += 3) {
    for (let k = 0; k < 3; k++) {
      const [from, to] = [3 * faces[f + k], 3 * faces[f + (k + 1) % 3]];
      for (let axis = 0; axis < 3; axis++) edges[k][axis] = (points[to + axis] - points[from + axis]) * size[axis];
    }
    const [u, , w] = edges;
    const normal = [0, 1, 2].map((a) => u[(a + 2) % 3] * w[(a + 1) % 3] - u[(a + 1) % 3] * w[(a + 2) % 3]);
    const length = Math.hypot(...normal) || 1;
    for (let axis = 0; axis < 3; axis++) flat[f + axis] = normal[axis] / length;
    for (let k = 0; k < 3; k++) {
      const [out, back] = [edges[k], edges[(k + 2) % 3]];
      const cosine = -(out[0] * back[0] + out[1] * back[1] + out[2] * back[2]) / (Math.hypot(...out) * Math.hypot(...back));
      const angle = Math.acos(Math.max(-1, Math.min(1, cosine || 0)));
      const at = 3 * welded[faces[f + k]];
      for (let axis = 0; axis < 3; axis++) sum[at + axis] += flat[f + axis] * angle;
    }
  }
  const out = new Int8Array(4 * faces.length);
  for (let f = 0; f < faces.length; f += 3) {
    for (let k = 0; k < 3; k++) {
      const at = 3 * welded[faces[f + k]];
      const length = Math.hypot(sum[at], sum[at + 1], sum[at + 2]) || 1;
      const cosine = (sum[at] * flat[f] + sum[at + 1] * flat[f + 1] + sum[at + 2] * flat[f + 2]) / length;
      for (let axis = 0; axis < 3; axis++) {
        out[4 * (f + k) + axis] = Math.round(127 * (cosine > 0.766 ? sum[at + axis] / length : flat[f + axis]));
      }
    }
  }
  return out;
}

// ---- colours ----

const rgb = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
// Viridis (Smith and van der Walt 2015) at nine places, which differ in brightness for every kind of sight.
const VIRIDIS = ["#440154", "#472d7b", "#3b528b", "#2c728e", "#21918c", "#28ae80", "#5ec962", "#addc30", "#fde725"];

// The first instance of a part has the colour of the part; others are lighter and darker by turns.
function shade(color, number) {
  if (number === 0) return color;
  const amount = [0.45, 0.3, 0.62, 0.5][(number - 1) % 4];
  const toward = number % 2 ? 255 : 0;
  return color.map((channel) => Math.round(channel + (toward - channel) * amount));
}

// ---- WebGL ----

const VERTEX = `#version 300 es
precision highp float;
precision highp int;
precision highp usampler2D;
uniform mat4 camera;
uniform mat3 turn;
uniform vec3 size;
uniform float pointSize;
uniform int corners;  // of a face, 1 for points
uniform usampler2D groups;
uniform sampler2D look;  // colour of each group; alpha says whether it is shown
layout(location = 0) in vec3 position;
layout(location = 1) in vec3 normal;
layout(location = 2) in float score;
flat out vec4 color;
flat out uint id;
out float value;
out vec3 toward;
void main() {
  int element = gl_VertexID / corners;
  int group = int(texelFetch(groups, ivec2(element % 2048, element / 2048), 0).r);
  color = texelFetch(look, ivec2(group % 256, group / 256), 0);
  id = uint(element + 1);
  value = score;
  toward = turn * normal;
  gl_Position = camera * vec4((position - 0.5) * size, 1.0);
  gl_PointSize = max(pointSize / gl_Position.w, 2.0);
  if (color.a < 0.5) gl_Position = vec4(2.0, 2.0, 2.0, 1.0);
}`;
const FRAGMENT = `#version 300 es
precision highp float;
precision highp int;
flat in vec4 color;
flat in uint id;
in float value;
in vec3 toward;
uniform bool heat;  // colour by score
uniform int corners;
uniform bool picking;
uniform sampler2D ramp;
out vec4 pixel;
void main() {
  vec3 n = normalize(toward);
  if (corners == 1) {
    vec2 place = 2.0 * gl_PointCoord - 1.0;
    float r = dot(place, place);
    if (r > 1.0) discard;
    n = vec3(place.x, -place.y, sqrt(1.0 - r));
  }
  if (picking) {
    pixel = vec4(float(id & 255u), float((id >> 8) & 255u), float((id >> 16) & 255u), 255.0) / 255.0;
    return;
  }
  if (!gl_FrontFacing) n = -n;
  vec3 base = heat ? texture(ramp, vec2((value * 255.0 + 0.5) / 256.0, 0.5)).rgb : color.rgb;
  float key = max(dot(n, normalize(vec3(-0.45, 0.65, 0.75))), 0.0);
  float rim = max(dot(n, normalize(vec3(0.85, 0.1, 0.45))), 0.0);
  pixel = vec4(base * (0.62 + 0.42 * key + 0.1 * rim), 1.0);
}`;

function makeProgram(gl) {
  const program = gl.createProgram();
  for (const [type, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
    const shader = gl.createShader(type);
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    gl.attachShader(program, shader);
  }
  gl.linkProgram(program);
  if (!gl.getProgramParameter(program, gl.LINK_STATUS) && !gl.isContextLost()) {
    throw new Error(gl.getProgramInfoLog(program));
  }
  return program;
}

class Renderer {
  constructor(gl, arrays, groups) {
    this.gl = gl;
    this.program = makeProgram(gl);
    this.isMesh = "faces" in arrays;
    this.count = this.isMesh ? arrays.faces.length : arrays.points.length / 3;
    this.corners = this.isMesh ? 3 : 1;
    this.source = arrays;
    gl.useProgram(this.program);
    this.at = (name) => gl.getUniformLocation(this.program, name);
    const { points, faces } = arrays;
    const positions = this.isMesh ? new Uint16Array(4 * this.count) : points;
    if (this.isMesh) {
      for (let i = 0; i < this.count; i++) {
        for (let k = 0; k < 3; k++) positions[4 * i + k] = points[3 * faces[i] + k];
      }
      this.attribute(1, cornerNormals(points, faces, data.size), 3, gl.BYTE, 4);
    } else {
      gl.vertexAttrib3f(1, 0, 0, 1);
    }
    this.attribute(0, positions, 3, gl.UNSIGNED_SHORT, this.isMesh ? 8 : 6);
    const rows = Math.ceil(groups.of.length / 2048);
    const padded = new Uint16Array(2048 * rows);
    padded.set(groups.of);
    this.texture(0, "groups", gl.R16UI, 2048, rows, gl.RED_INTEGER, gl.UNSIGNED_SHORT, padded);
    const ramp = new Uint8Array(4 * 256);
    for (let i = 0; i < 256; i++) {
      const place = (i / 255) * (VIRIDIS.length - 1);
      const low = Math.min(Math.floor(place), VIRIDIS.length - 2);
      const [a, b] = [rgb(VIRIDIS[low]), rgb(VIRIDIS[low + 1])];
      for (let k = 0; k < 3; k++) ramp[4 * i + k] = Math.round(a[k] + (b[k] - a[k]) * (place - low));
      ramp[4 * i + 3] = 255;
    }
    this.texture(2, "ramp", gl.RGBA8, 256, 1, gl.RGBA, gl.UNSIGNED_BYTE, ramp);
    gl.uniform3fv(this.at("size"), data.size);
    gl.uniform1i(this.at("corners"), this.corners);
    gl.enable(gl.DEPTH_TEST);
    this.target = gl.createFramebuffer();
    gl.bindFramebuffer(gl.FRAMEBUFFER, this.target);
    const [color, depth] = [gl.createRenderbuffer(), gl.createRenderbuffer()];
    for (const [buffer, format, place] of [
      [color, gl.RGBA8, gl.COLOR_ATTACHMENT0], [depth, gl.DEPTH_COMPONENT16, gl.DEPTH_ATTACHMENT],
    ]) {
      gl.bindRenderbuffer(gl.RENDERBUFFER, buffer);
      gl.renderbufferStorage(gl.RENDERBUFFER, format, 1, 1);
      gl.framebufferRenderbuffer(gl.FRAMEBUFFER, place, gl.RENDERBUFFER, buffer);
    }
  }

  attribute(location, values, size, type, stride) {
    const { gl } = this;
    this.buffers ??= [];
    this.buffers[location] ??= gl.createBuffer();
    gl.bindBuffer(gl.ARRAY_BUFFER, this.buffers[location]);
    gl.bufferData(gl.ARRAY_BUFFER, values, gl.STATIC_DRAW);
    gl.enableVertexAttribArray(location);
    gl.vertexAttribPointer(location, size, type, true, stride, 0);
  }

  texture(unit, name, format, width, height, channels, type, values) {
    const { gl } = this;
    this.textures ??= {};
    this.textures[name] ??= gl.createTexture();
    gl.activeTexture(gl.TEXTURE0 + unit);
    gl.bindTexture(gl.TEXTURE_2D, this.textures[name]);
    gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1);
    gl.texImage2D(gl.TEXTURE_2D, 0, format, width, height, 0, channels, type, values);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.NEAREST);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MAG_FILTER, gl.NEAREST);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_S, gl.CLAMP_TO_EDGE);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_T, gl.CLAMP_TO_EDGE);
    gl.uniform1i(this.at(name), unit);
  }

  // looks: [red, green, blue, alpha] of each group.
  setLooks(looks) {
    const { gl } = this;
    const values = new Uint8Array(4 * 256 * Math.ceil(looks.length / 256));
    values.set(looks.flat());
    this.texture(1, "look", gl.RGBA8, 256, values.length / 1024, gl.RGBA, gl.UNSIGNED_BYTE, values);
  }

  // part: whose scores colour the shape, or null for the colours of the groups.
  setHeat(part) {
    const { gl } = this;
    gl.uniform1i(this.at("heat"), part === null ? 0 : 1);
    if (part === null) return;
    const { points, faces, scores } = this.source;
    const start = (part * points.length) / 3;
    this.attribute(2, Uint8Array.from({ length: this.count }, (_, i) => scores[start + (faces ? faces[i] : i)]),
                   1, gl.UNSIGNED_BYTE, 1);
  }

  draw(camera, background, picked = null) {
    const { gl } = this;
    gl.bindFramebuffer(gl.FRAMEBUFFER, picked ? this.target : null);
    const [x, y] = picked ?? [0, 0];
    gl.viewport(-x, -y, canvas.width, canvas.height);
    gl.clearColor(...(picked ? [0, 0, 0, 0] : background), picked ? 0 : 1);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    gl.uniform1i(this.at("picking"), picked ? 1 : 0);
    gl.uniformMatrix4fv(this.at("camera"), false, camera.matrix);
    gl.uniformMatrix3fv(this.at("turn"), false, camera.turn);
    gl.uniform1f(this.at("pointSize"), this.pointSize() * canvas.height);
    gl.drawArrays(this.isMesh ? gl.TRIANGLES : gl.POINTS, 0, this.count);
  }

  // About the distance between points, relative to the height of the view at distance 1.
  pointSize() {
    return Math.min(0.05, Math.max(0.006, 3.2 / Math.sqrt(this.count)));
  }

  // The face or point at a pixel of the canvas, or -1.
  pick(camera, x, y) {
    const { gl } = this;
    this.draw(camera, null, [x, canvas.height - 1 - y]);
    const pixel = new Uint8Array(4);
    gl.readPixels(0, 0, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, pixel);
    gl.bindFramebuffer(gl.FRAMEBUFFER, null);
    return pixel[0] + 256 * pixel[1] + 65536 * pixel[2] - 1;
  }
}

// ---- camera ----

const FIELD_OF_VIEW = (30 * Math.PI) / 180;

class Camera {
  constructor() {
    this.radius = Math.hypot(...data.size) / 2 || 1;
    this.reset();
  }

  reset() {
    Object.assign(this, { azimuth: 0.61, elevation: 0.35, zoom: 1, shift: [0, 0] });
  }

  rotate(dx, dy) {
    this.azimuth -= dx;
    this.elevation = Math.max(-1.57, Math.min(1.57, this.elevation + dy));
  }

  zoomBy(factor) {
    this.zoom = Math.max(0.3, Math.min(40, this.zoom * factor));
  }

  // dx, dy: in heights of the view
  move(dx, dy) {
    const reach = 2 * this.distance() * Math.tan(FIELD_OF_VIEW / 2);
    this.shift = [this.shift[0] + dx * reach, this.shift[1] + dy * reach];
  }

  distance() {
    const aspect = Math.min(1, canvas.width / canvas.height);
    return (1.08 * this.radius) / Math.sin(Math.atan(Math.tan(FIELD_OF_VIEW / 2) * aspect)) / this.zoom;
  }

  update() {
    const [sa, ca] = [Math.sin(this.azimuth), Math.cos(this.azimuth)];
    const [se, ce] = [Math.sin(this.elevation), Math.cos(this.elevation)];
    const [right, up, back] = [[ca, 0, -sa], [-sa * se, ce, -ca * se], [sa * ce, se, ca * ce]];
    const distance = this.distance();
    const reach = this.radius + Math.hypot(...this.shift);
    const [near, far] = [Math.max(distance - 1.1 * reach, distance / 500), distance + 1.1 * reach];
    const f = 1 / Math.tan(FIELD_OF_VIEW / 2);
    const [px, py] = [(f * canvas.height) / canvas.width, f];
    const [pz, pw] = [(far + near) / (near - far), (2 * far * near) / (near - far)];
    this.turn = new Float32Array([0, 1, 2].flatMap((k) => [right[k], up[k], back[k]]));
    const [tx, ty, tz] = [this.shift[0], this.shift[1], -distance];
    this.matrix = new Float32Array([
      ...[0, 1, 2].flatMap((k) => [px * right[k], py * up[k], pz * back[k], -back[k]]),
      px * tx, py * ty, pz * tz + pw, -tz,
    ]);
  }
}

// ---- page ----

function words(part) {
  const out = [];
  if (part.found === false) out.push("not found");
  if (part.count > 0 && part.confidence !== null) out.push("confidence " + part.confidence.toFixed(2));
  if (part.presence !== null) out.push("presence " + part.presence.toFixed(2));
  return out;
}

async function start() {
  const gl = canvas.getContext("webgl2", { antialias: true });
  if (!gl || typeof DecompressionStream === "undefined") {
    throw new Error("This browser cannot show the shape: it has no WebGL 2, or is older than 2023. See parts.png.");
  }
  const arrays = await unpack();
  const groups = groupsOf(arrays.labels, arrays.instances);
  const counts = data.parts.map((_, part) => groups.groups.filter((group) => group.part === part).length);
  const hasInstances = "instances" in arrays;
  const camera = new Camera();
  const shown = data.parts.map(() => true);
  let renderer = new Renderer(gl, arrays, groups);
  let waiting = false;

  function background() {
    return getComputedStyle(document.body).backgroundColor.match(/[\d.]+/g).slice(0, 3).map((channel) => channel / 255);
  }

  function draw() {
    waiting = false;
    camera.update();
    renderer.draw(camera, background());
  }

  function redraw() {
    if (!waiting) requestAnimationFrame(draw);
    waiting = true;
  }

  function resize() {
    const ratio = Math.min(devicePixelRatio || 1, 2);
    canvas.width = Math.max(1, Math.round(view.clientWidth * ratio));
    canvas.height = Math.max(1, Math.round(view.clientHeight * ratio));
    draw();
  }

  // The legend, the colours and what is shown, from `shown` and the choice of colours.
  function update() {
    const heat = mode.value.startsWith("score") ? Number(mode.value.slice(5)) : null;
    renderer.setLooks(groups.groups.map(({ part, number }) => {
      const color = rgb(data.parts[part].color);
      return [...(mode.value === "instances" ? shade(color, number) : color), shown[part] ? 255 : 0];
    }));
    renderer.setHeat(heat);
    scale.hidden = heat === null;
    for (const button of legend.querySelectorAll(".part")) {
      button.setAttribute("aria-pressed", String(shown[button.dataset.part]));
    }
    for (const button of legend.querySelectorAll(".only")) {
      button.setAttribute("aria-pressed", String(isAlone(Number(button.dataset.part))));
    }
    hover.hidden = true;
    redraw();
  }

  const isAlone = (part) => shown.every((is, other) => is === (other === part) || data.parts[other].count === 0);

  function only(part) {
    const again = isAlone(part);
    shown.forEach((_, other) => { shown[other] = again || other === part; });
    update();
  }

  function element(tag, properties, ...children) {
    const out = Object.assign(document.createElement(tag), properties);
    out.append(...children);
    return out;
  }

  data.parts.forEach((part, index) => {
    if (part.label < 0 && part.count === 0) return;
    const notes = words(part);
    const isEmpty = part.count === 0;
    if (hasInstances && part.label >= 0 && !isEmpty) {
      notes.unshift(counts[index] + (counts[index] === 1 ? " instance" : " instances"));
    }
    const share = isEmpty && part.found === false ? notes.shift() : percent(part.share);
    const swatch = element("span", { className: "swatch" });
    swatch.style.background = swatch.style.borderColor = part.color;
    const button = element("button", { type: "button", className: "part", disabled: isEmpty },
      swatch, element("span", { className: "name", textContent: part.name }),
      element("span", { className: "share", textContent: share }),
      element("span", { className: "note", textContent: notes.join(" · ") }));
    button.dataset.part = index;
    button.addEventListener("click", () => { shown[index] = !shown[index]; update(); });
    const row = element("li", {}, button);
    if (!isEmpty) {
      const alone = element("button", { type: "button", className: "only", textContent: "only" });
      alone.dataset.part = index;
      alone.setAttribute("aria-label", `Show ${part.name} only`);
      alone.addEventListener("click", () => only(index));
      row.append(alone);
    }
    legend.append(row);
  });

  mode.add(new Option("part", "parts"));
  if (hasInstances) mode.add(new Option("instance of a part", "instances"));
  data.parts.forEach(({ name, label }) => { if (label >= 0) mode.add(new Option("score of " + name, "score" + label)); });
  mode.addEventListener("change", update);
  scale.querySelector(".bar").style.background = `linear-gradient(to right, ${VIRIDIS.join(", ")})`;
  document.getElementById("all").addEventListener("click", () => { shown.fill(true); update(); });
  document.getElementById("reset").addEventListener("click", () => { camera.reset(); redraw(); });
  document.getElementById("save").addEventListener("click", () => {
    draw();
    const link = element("a", { href: canvas.toDataURL("image/png"), download: document.title + ".png" });
    link.click();
  });

  // What is under a place of the view, in words, beside it and within the view.
  function tell(x, y) {
    const ratio = canvas.width / view.clientWidth;
    const found = renderer.pick(camera, Math.round(x * ratio), Math.round(y * ratio));
    hover.hidden = found < 0;
    if (found < 0) return;
    const { part, number, count } = groups.groups[groups.of[found]];
    const { name, share } = data.parts[part];
    const which = hasInstances && count > 1 ? ` ${number + 1} of ${count}` : "";
    hover.textContent = [name + which, `${percent(share)} ${data.shareOf}`, ...words(data.parts[part])].join(" · ");
    const [right, bottom] = [view.clientWidth - hover.offsetWidth - 4, view.clientHeight - hover.offsetHeight - 4];
    const [left, top] = [Math.min(x + 14, right), y > hover.offsetHeight + 18 ? y - hover.offsetHeight - 12 : y + 18];
    hover.style.transform = `translate(${Math.max(4, left)}px, ${Math.max(4, Math.min(top, bottom))}px)`;
  }

  const pointers = new Map();
  let moved = 0;
  const place = (event) => [event.offsetX, event.offsetY];
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, place(event));
    if (pointers.size === 1) moved = 0;
    hover.hidden = true;
  });
  canvas.addEventListener("pointermove", (event) => {
    const [x, y] = place(event);
    const before = pointers.get(event.pointerId);
    if (!before) {
      if (event.pointerType === "mouse") tell(x, y);
      return;
    }
    const [dx, dy] = [x - before[0], y - before[1]];
    const height = view.clientHeight;
    moved += Math.hypot(dx, dy);
    if (pointers.size === 2) {
      const [other] = [...pointers].filter(([id]) => id !== event.pointerId).map(([, at]) => at);
      const apart = (at) => Math.hypot(at[0] - other[0], at[1] - other[1]) || 1;
      camera.zoomBy(apart([x, y]) / apart(before));
      camera.move(dx / 2 / height, -dy / 2 / height);
    } else if (event.buttons & 6 || event.shiftKey) {
      camera.move(dx / height, -dy / height);
    } else {
      camera.rotate((3.5 * dx) / height, (3.5 * dy) / height);
    }
    pointers.set(event.pointerId, [x, y]);
    redraw();
  });
  for (const kind of ["pointerup", "pointercancel", "lostpointercapture"]) {
    canvas.addEventListener(kind, (event) => {
      if (!pointers.delete(event.pointerId)) return;
      if (kind === "pointerup" && moved < 6 && event.pointerType !== "mouse") tell(...place(event));
    });
  }
  canvas.addEventListener("pointerleave", (event) => { hover.hidden ||= event.pointerType === "mouse"; });
  canvas.addEventListener("contextmenu", (event) => event.preventDefault());
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    const lines = event.deltaY * [1, 30, 400][event.deltaMode];
    camera.zoomBy(Math.exp(-Math.max(-400, Math.min(400, lines)) / 700));
    hover.hidden = true;
    redraw();
  }, { passive: false });
  canvas.addEventListener("keydown", (event) => {
    const turns = { ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowUp: [0, -0.1], ArrowDown: [0, 0.1] };
    const zooms = { "+": 1.15, "=": 1.15, "-": 1 / 1.15 };
    if (event.ctrlKey || event.metaKey || !(event.key in turns || event.key in zooms)) return;
    event.preventDefault();
    if (event.key in turns) camera.rotate(...turns[event.key]);
    else camera.zoomBy(zooms[event.key]);
    redraw();
  });
  // A browser may take the graphics memory of a page in the background.
  canvas.addEventListener("webglcontextlost", (event) => event.preventDefault());
  canvas.addEventListener("webglcontextrestored", () => { renderer = new Renderer(gl, arrays, groups); update(); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);

  camera.update();
  update();
  new ResizeObserver(resize).observe(view);
  resize();
}

start().catch((error) => {
  console.error(error);
  const problem = document.getElementById("problem");
  problem.textContent = error.message;
  problem.hidden = false;
});
