/** Names of batches, by which they are recognised in the log: `<gateway>-<count>`. */

let count = 0

/** A name that no batch has had. */
export function nextOperation(gatewayId: string): string {
  count += 1
  return operationId(gatewayId, count)
}

/** As long as one can ever be. */
export function longestOperation(gatewayId: string): string {
  return operationId(gatewayId, Number.MAX_SAFE_INTEGER)
}

/** The gateway that has named a batch so. */
export function writerOf(operation: string): string {
  return operation.slice(0, operation.lastIndexOf('-'))
}

function operationId(gatewayId: string, number: number): string {
  return `${gatewayId}-${number.toString(36)}`
}
