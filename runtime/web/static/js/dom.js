/* Makes and replaces elements.

h(tag, props, ...children)   an element. Props: `class`, `style` (an object; text would break the page's policy), `dataset`
                             (an object), `on…` (a function, as in onclick), `ref` (gets the element), properties such as
                             `value` and `checked`; all else is an attribute, where true is "", and false and null are none.
                             Children: nodes, texts, numbers, arrays of these; null and false are left out.
s(tag, props, ...children)   the same for SVG.
replace(node, ...children)   puts these in place of what the node holds; returns the node.
setText(node, text)          changes the text only where it differs, so that nothing is laid out, or read out, in vain.
byTestId(root, id)           the element with this data-testid. */

const PROPERTIES = new Set(["value", "checked", "indeterminate", "selected", "textContent", "scrollTop"]);

export function h(tag, props, ...children) {
  return fill(document.createElement(tag), props, children);
}

export function s(tag, props, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), props, children);
}

export function replace(node, ...children) {
  node.replaceChildren(...flat(children));
  return node;
}

export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export function byTestId(root, id) {
  return root.querySelector(`[data-testid="${CSS.escape(id)}"]`);
}

function fill(element, props, children) {
  for (const [name, value] of Object.entries(props ?? {})) setProp(element, name, value);
  element.append(...flat(children));
  const late = props?.value; // a <select> has its options only now
  if (late !== undefined && element.tagName === "SELECT") element.value = late;
  return element;
}

function setProp(element, name, value) {
  if (name === "ref") value(element);
  else if (name === "style") for (const [key, text] of Object.entries(value)) element.style.setProperty(key, text);
  else if (name === "dataset") Object.assign(element.dataset, value);
  else if (name.startsWith("on")) element.addEventListener(name.slice(2).toLowerCase(), value);
  else if (PROPERTIES.has(name)) element[name] = value;
  else if (value === true) element.setAttribute(name, "");
  else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
}

function flat(children) {
  return children
    .flat(Infinity)
    .filter((child) => child !== null && child !== undefined && child !== false && child !== "")
    .map((child) => (child instanceof Node ? child : String(child)));
}
