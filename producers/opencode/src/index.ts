/** Memlane's plugin for OpenCode: captures what agents do, publishes it, and gives back what matters. */

export default { id: "memlane", server: () => Promise.resolve({}) };
