/* Colours: of classes, of spectrograms, and those of style.css for drawing on a canvas.

hueOf(label)            a class's hue, 0 to 360, always the same. As a style: h("span", {class: "dot", style: {"--hue": hueOf(label)}});
                        what has such a --hue takes its colour from style.css as `var(--label)`, in both colour schemes.
colorOf(label, alpha)   the same colour for a canvas, in the present colour scheme
setLabels(labels)       the classes there are: their hues are spread evenly; others get one by their name
spectrum()              256 × [r, g, b] from silence to the loudest, perceptually even, for the present colour scheme
token(name)             the colour of style.css's variable --name, such as token("muted") */

const GOLDEN_ANGLE = 137.508;
const FIRST_HUE = 265;
const LABEL = { dark: [0.78, 0.13], light: [0.55, 0.15] }; // lightness and chroma, as --label in style.css

/* [position, lightness, chroma, hue] in OKLCH. Lightness rises, or falls, evenly: that is what the eye reads as loudness. */
const SPECTRA = {
  dark: [
    [0, 0.185, 0.018, 270],
    [0.2, 0.28, 0.1, 283],
    [0.42, 0.43, 0.18, 318],
    [0.62, 0.59, 0.2, 8],
    [0.8, 0.75, 0.165, 52],
    [1, 0.96, 0.08, 98],
  ],
  light: [
    [0, 0.985, 0.004, 80],
    [0.2, 0.915, 0.06, 72],
    [0.4, 0.79, 0.13, 48],
    [0.6, 0.63, 0.2, 12],
    [0.8, 0.44, 0.18, 318],
    [1, 0.22, 0.1, 283],
  ],
};

const hues = new Map();
const tokens = new Map();
const spectra = {};

document.addEventListener("themechange", () => tokens.clear());

const scheme = () => (window.theme.isDark ? "dark" : "light");

export function setLabels(labels) {
  [...new Set(labels)].sort().forEach((label, i) => hues.set(label, (FIRST_HUE + i * GOLDEN_ANGLE) % 360));
}

export function hueOf(label) {
  if (!hues.has(label)) {
    let hash = 2166136261; // FNV-1a
    for (const char of label) hash = Math.imul(hash ^ char.codePointAt(0), 16777619);
    hues.set(label, ((hash >>> 0) * GOLDEN_ANGLE) % 360);
  }
  return Math.round(hues.get(label) * 10) / 10;
}

export function colorOf(label, alpha = 1) {
  const [lightness, chroma] = LABEL[scheme()];
  return `oklch(${lightness} ${chroma} ${hueOf(label)} / ${alpha})`;
}

export function token(name) {
  if (!tokens.has(name)) {
    const value = getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
    tokens.set(name, value);
  }
  return tokens.get(name);
}

export function spectrum() {
  return (spectra[scheme()] ??= Array.from({ length: 256 }, (_, i) => mix(SPECTRA[scheme()], i / 255)));
}

function mix(points, position) {
  const after = Math.max(
    1,
    points.findIndex(([at]) => at >= position),
  );
  const [from, to] = [points[after - 1], points[after]];
  const part = (position - from[0]) / (to[0] - from[0]);
  const [a, b] = [oklab(from), oklab(to)];
  return rgb(a.map((value, i) => value + (b[i] - value) * part));
}

function oklab([, lightness, chroma, hue]) {
  const angle = (hue * Math.PI) / 180;
  return [lightness, chroma * Math.cos(angle), chroma * Math.sin(angle)];
}

/* Björn Ottosson, "A perceptual color space for image processing", 2020. */
function rgb([lightness, a, b]) {
  const l = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3;
  const m = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3;
  const s = (lightness - 0.0894841775 * a - 1.291485548 * b) ** 3;
  return [
    4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s,
    -1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s,
    -0.0041960863 * l - 0.7034186147 * m + 1.707614701 * s,
  ].map((linear) => {
    const value = linear <= 0.0031308 ? 12.92 * linear : 1.055 * linear ** (1 / 2.4) - 0.055;
    return Math.round(255 * Math.min(1, Math.max(0, value)));
  });
}
