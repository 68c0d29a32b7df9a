// Fuzz targets of the JavaScript readers: each makes an input from a Random and gives it to the reader. A MoeError is an
// answer. Any other error is a finding, and so is a result that breaks what the reader promises.
import * as adapters from './readers/adapters.mjs'
import * as configs from './readers/configs.mjs'
import * as hub from './readers/hub.mjs'
import * as tensors from './readers/tensors.mjs'
import * as texts from './readers/texts.mjs'
import * as tokenizers from './readers/tokenizers.mjs'
import * as vmoe from './readers/vmoe.mjs'

/** By name. */
export const targets = {
  ...tensors,
  ...vmoe,
  ...tokenizers,
  ...configs,
  ...adapters,
  ...texts,
  ...hub,
}
