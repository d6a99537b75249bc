/** What is common to stand-ins for sockets and responses. */
import { EventEmitter } from 'node:events'

/** Takes a number of writes, then pushes back until it is drained. */
export class FakeWritable extends EventEmitter {
  text = ''
  room = Infinity
  writableNeedDrain = false
  writableLength = 0
  ended = false
  destroyed = false

  write(bytes: Buffer): boolean {
    this.text += bytes.toString()
    this.room -= 1
    this.writableNeedDrain = this.room <= 0
    return !this.writableNeedDrain
  }

  drain(room: number): void {
    this.room = room
    this.writableNeedDrain = false
    this.emit('drain')
  }

  destroy(): void {
    if (this.destroyed) return
    this.destroyed = true
    this.emit('close')
  }
}
