// Asks a hub for signatures as pages for NHS Credential Management do: the port
// service is looked for at all ports at once, then signalr-no-jquery speaks to
// the hub by long polling.

async function findHub(ports) {
  const answers = ports.map(async (port) => {
    const response = await fetch(`http://localhost:${port}/PRS/GetPortNumber`, { method: "GET", cache: "no-cache", credentials: "include" });
    return response.json();
  });
  const { portData, faultException } = await Promise.any(answers);
  if (faultException) {
    throw new Error(`${faultException.code}: ${faultException.message}`);
  }
  return portData.portNumber;
}

async function requestToSign(ports, argument) {
  const connection = signalR.hubConnection(`http://localhost:${await findHub(ports)}`, { logging: true });
  const hub = connection.createHubProxy("signingHub");
  await new Promise((resolve, reject) => {
    connection.error(reject);
    connection.start({ transport: "longPolling", contentType: "application/jwt" }, resolve);
  });
  return new Promise((resolve, reject) => {
    hub.invoke("requestToSign", argument).done(resolve).fail(reject);
  });
}
