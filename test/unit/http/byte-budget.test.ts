import { describe, expect, test } from 'vitest'
import { OverloadedError } from '../../../src/errors.ts'
import { ByteBudget } from '../../../src/http/byte-budget.ts'

describe('ByteBudget', () => {
  test('refuses what is over the bound, and leaves everything as it was', () => {
    const budget = new ByteBudget(100)
    const [first, second] = [budget.open(), budget.open()]
    first.growTo(60)
    expect(second.growTo(41)).toBeInstanceOf(OverloadedError)
    second.growTo(40)
    expect(first.growTo(61)).toBeInstanceOf(OverloadedError)
  })

  test('takes the difference only, and never shrinks', () => {
    const budget = new ByteBudget(100)
    const [first, second] = [budget.open(), budget.open()]
    for (const bytes of [10, 50, 30, 90]) first.growTo(bytes)
    second.growTo(10)
    expect(second.growTo(11)).toBeInstanceOf(OverloadedError)
  })

  test('has back what a share held, once', () => {
    const budget = new ByteBudget(100)
    const share = budget.open()
    share.growTo(100)
    share.close()
    share.close()
    share.growTo(1)
    budget.open().growTo(100)
    expect(budget.open().growTo(1)).toBeInstanceOf(OverloadedError)
  })
})
