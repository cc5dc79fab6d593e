// Types of those parts of preact.js that the dashboard uses, for `make lint`. It is no file of Preact.

export type Node = unknown;
export type Reference<T> = { current: T };

export function html(strings: TemplateStringsArray, ...values: unknown[]): Node;
export function render(node: Node, parent: Element): void;
export function useState<T>(initial: T | (() => T)): [T, (next: T | ((previous: T) => T)) => void];
export function useEffect(effect: () => unknown, inputs?: readonly unknown[]): void;
export function useRef<T>(initial: T): Reference<T>;
