/** Writes openapi/openapi.json anew from the routes; a test fails when the committed one differs. */
import { writeFileSync } from 'node:fs'
import { openapiDocument } from '../test/support/openapi.ts'

writeFileSync(new URL('../openapi/openapi.json', import.meta.url), await openapiDocument())
