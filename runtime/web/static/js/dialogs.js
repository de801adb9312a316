/* Dialogs of the events view.

showKeys(inFleet)                  what the keyboard does
askLabel(count, labels, onLabel)   which sound several events really are
showExport()                       how many verdicts there are, the download, and how to train with it */

import { api } from "./api.js";
import { button } from "./controls.js";
import { h, replace, setText } from "./dom.js";
import { count } from "./format.js";
import { openDialog, spinner } from "./widgets.js";

const KEYS = [
  ["j ↓", "older event"],
  ["k ↑", "newer event"],
  ["Space", "play or pause"],
  ["← →", "a second back, or on"],
  ["c", "correct; once more: not judged"],
  ["w", "wrong; once more: not judged"],
  ["r", "really another sound"],
  ["n", "note"],
  ["l", "lock or unlock"],
  ["x", "select; Shift and a click: all between"],
  ["u", "undo"],
  ["Esc", "select none, or close the event"],
  ["?", "this help"],
];
const DOWNLOAD = "Download verdicts.zip";
const TRAINING = `python -m htsat_edge.htsat.train \\
  --config configs/finetune.yaml \\
  --init runtime/models/bundled/weights.safetensors \\
  --data verdicts/ --out run`;

const OWN_VERDICTS = "Verdicts of a fleet are kept in the collector’s store; a device’s own page has its own. To teach a device a sound, or to tune it, use its page.";

const hint = (...text) => h("p", { class: "muted" }, text);

export function showKeys(inFleet) {
  const rows = KEYS.map(([keys, text]) => [h("dt", {}, keys.split(" ").map((key) => h("kbd", {}, key))), h("dd", {}, text)]);
  openDialog("Keys", [h("dl", { class: "keys" }, rows), hint("Where events are selected, c, w, r and l judge all of them."), inFleet && hint(OWN_VERDICTS)]);
}

export function askLabel(events, labels, onLabel) {
  const input = h("input", { list: "bulk", maxlength: 200, autocomplete: "off", required: true, autofocus: true, "aria-label": "What they really are" });
  const options = h("datalist", { id: "bulk" }, labels.map((value) => h("option", { value })));
  const onclick = () => (input.value.trim() ? onLabel(input.value.trim()) : false);
  openDialog(`What were the ${events} really?`, [input, options, hint("A class of the model, or a word of your own.")], [{ label: "Set for all", submit: true, onclick }]);
}

export function showExport() {
  const body = h("div", { class: "stack", "data-testid": "export" }, spinner());
  openDialog("Export verdicts", body);
  api.get("figures").then(({ labels }) => replace(body, exportText(labels)), (error) => replace(body, error.detail));
}

async function download({ currentTarget: pressed }) {
  pressed.disabled = true;
  setText(pressed.lastChild, "Packing …");
  try {
    await api.download("export", "verdicts.zip");
  } catch (error) {
    pressed.parentElement.querySelector(".problem")?.remove();
    pressed.after(h("p", { class: "problem", role: "alert" }, error.message));
  }
  setText(pressed.lastChild, DOWNLOAD);
  pressed.disabled = false;
}

function exportText(labels) {
  const sum = (name) => labels.reduce((total, label) => total + label[name], 0);
  const [correct, wrong] = [sum("correct"), sum("wrong")];
  if (correct + wrong === 0) return h("p", {}, "No event is judged yet. Open one, listen, and say whether it is correct or wrong. What you have judged can be downloaded here, to train the model with.");
  return [
    h("p", {}, h("b", {}, `${count(correct + wrong)} judged:`), ` ${count(correct)} correct, ${count(wrong)} wrong. The archive holds their clips, and a manifest of the sounds in them. A clip in which another event is not judged yet is left out, since its labels would not be true.`),
    button("download", DOWNLOAD, download, { class: "primary", "data-testid": "export-download" }),
    h("p", {}, "Unpack it as ", h("code", {}, "verdicts/"), ", and train with it, on a computer with a checkout (only the classes of your verdicts are learned: add other recordings to keep more):"),
    h("pre", { tabindex: 0, "aria-label": "Command" }, TRAINING),
    hint("On the device, ", h("code", {}, "htsat-edge web --config FILE --export FOLDER"), " writes the same into a folder."),
  ];
}
