/* One safetensors file, as part of a source. */
#ifndef TERN_FORMAT_SAFETENSORS_H
#define TERN_FORMAT_SAFETENSORS_H

#include "format/reader.h"

/* Enters its tensors, in the order of the header. The first file's __metadata__ entries (texts) become metadata with
 * keys behind "__metadata__.". Errors: FORMAT, UNSUPPORTED (a dtype), MEMORY. */
TERN_USE_RESULT tern_status tern_safetensors_read(tern_reader *r, const tern_source_file *f, int shard, tern_error *err);

#endif
