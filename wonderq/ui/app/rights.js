// What the user's key permits. The broker decides; this only hides what it would refuse.

export class Rights {
  /** @param {{roles: string[], queues: string[]} | undefined} access */
  constructor(access) {
    this.isKnown = access !== undefined;
    const roles = access?.roles ?? [];
    this.isAdmin = roles.includes("admin");
    this.sendsMessages = this.isAdmin || roles.includes("produce");
    this.seesMessages = this.isAdmin || roles.includes("inspect");
    this.opensAllQueues = access?.queues.includes("*") ?? false;
  }
}
