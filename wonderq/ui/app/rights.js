// The rights of the user's key. The broker decides; this only hides what it would refuse.

export class Rights {
  /** @param {{roles: string[], queues: string[], read_only: boolean} | undefined} access */
  constructor(access) {
    this.isKnown = access !== undefined;
    const roles = access?.roles ?? [];
    const has = (/** @type {string} */ role) => roles.includes(role) || roles.includes("admin");
    this.isAdmin = has("admin") && !access?.read_only;
    this.sendsMessages = has("produce") && !access?.read_only;
    this.seesMessages = has("inspect");
    this.opensAllQueues = access?.queues.includes("*") ?? false;
  }
}
