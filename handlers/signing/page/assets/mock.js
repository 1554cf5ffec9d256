// The fake signer of the signing service, for tests of the application.

import { Failure } from "./failure.js";

export async function sign({ server, signal, report }) {
  report("Making a test signature…");
  try {
    return await server.post("mock", signal);
  } catch (error) {
    if (error instanceof SyntaxError) {
      throw new Failure("server_error", { retry: "sign" });
    }
    throw error;
  }
}

export const test = true;
