/* Writes a line for each event into the file that its configuration names, {"path":"..."}. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "keylane_plugin.h"

KEYLANE_PLUGIN_MANIFEST("org.example.writes", "1.0.0", 0, 1);

typedef struct writes {
  keylane_processor head;
  const keylane_host *host;
  FILE *file;
  uint64_t last;
} writes;

static keylane_status process(keylane_processor *p, const keylane_batch *batch, keylane_batch_result *result) {
  writes *self = (writes *)p;
  for (uint32_t i = 0; i < batch->count; i++) {
    const keylane_event *e = keylane_event_at(batch, i);
    const uint8_t *bytes = e->value.ptr;
    keylane_bytes name = self->host->type_name(self->host, e->type_id);
    int64_t age = batch->now_wall_ns - e->wall_ns;
    result->processed = i;
    /* The clocks agree: both say how old the event is, and neither comes from another year. */
    if (age < 0 || age > 3600ll * 1000000000 || age != (int64_t)(batch->now_mono_ns - e->mono_ns)) return KEYLANE_E_EVENT;
    if (self->host->type_id(self->host, name) != e->type_id) return KEYLANE_E_EVENT;
    fprintf(self->file, "%.*s %llu ", (int)name.len, (const char *)name.ptr, (unsigned long long)e->seq);
    if (e->flags & KEYLANE_EV_KEYED) fputs("keyed ", self->file);
    switch (e->value_kind) {
    case KEYLANE_V_NONE: fputs("none", self->file); break;
    case KEYLANE_V_BOOL: fprintf(self->file, "bool %d", (int)e->value.u64); break;
    case KEYLANE_V_I64: fprintf(self->file, "i64 %lld", (long long)e->value.i64); break;
    case KEYLANE_V_U64: fprintf(self->file, "u64 %llu", (unsigned long long)e->value.u64); break;
    case KEYLANE_V_F64: fprintf(self->file, "f64 %g", e->value.f64); break;
    case KEYLANE_V_UTF8: fprintf(self->file, "utf8 %.*s", (int)e->value_len, (const char *)bytes); break;
    case KEYLANE_V_JSON: fprintf(self->file, "json %.*s", (int)e->value_len, (const char *)bytes); break;
    case KEYLANE_V_BYTES:
      fprintf(self->file, "bytes %u:", e->value_len);
      for (uint32_t n = 0; n < e->value_len; n++) fprintf(self->file, " %02x", bytes[n]);
      break;
    case KEYLANE_V_OPAQUE: {
      keylane_bytes json = {0}, text = {0};
      if (self->host->render(self->host, e, KEYLANE_RENDER_JSON, &json)) return KEYLANE_E_EVENT;
      if (self->host->render(self->host, e, KEYLANE_RENDER_TEXT, &text)) return KEYLANE_E_EVENT;
      /* What was rendered first is still there. */
      fprintf(self->file, "opaque %.*s %.*s", (int)json.len, (const char *)json.ptr, (int)text.len, (const char *)text.ptr);
      break;
    }
    default: return KEYLANE_E_EVENT;
    }
    fputc('\n', self->file);
  }
  return KEYLANE_OK;
}

static void destroy(keylane_processor *p) { free(p); }

static void end(keylane_processor *p, uint32_t reason) { fclose(((writes *)p)->file); }

static uint32_t count(void) { return 1; }

static const keylane_descriptor the_descriptor = {
    .struct_size = sizeof(keylane_descriptor), .id = "org.example.writes", .version = "1.0.0"};

static const keylane_descriptor *descriptor(uint32_t index) { return index ? 0 : &the_descriptor; }

static keylane_status create(const char *id, const keylane_host *host, const keylane_create_args *args,
                             keylane_processor **out, keylane_error *error) {
  char path[4096] = {0};
  size_t len = args->config_json.len - strlen("{\"path\":\"") - strlen("\"}");
  memcpy(path, args->config_json.ptr + strlen("{\"path\":\""), len);
  writes *self = calloc(1, sizeof *self);
  self->head.struct_size = sizeof self->head;
  self->head.process = process;
  self->head.shutdown = end;
  self->head.destroy = destroy;
  self->host = host;
  self->file = fopen(path, "w");
  if (!self->file) return KEYLANE_E_CONFIG;
  *out = &self->head;
  return KEYLANE_OK;
}

static const keylane_factory factory = {
    .struct_size = sizeof(keylane_factory), .count = count, .descriptor = descriptor, .create = create};

static const void *get_factory(const char *id) { return &factory; }

KEYLANE_EXPORT const keylane_entry keylane_plugin_entry_v1 = {
    KEYLANE_MAGIC, sizeof(keylane_entry), KEYLANE_ABI_VERSION, KEYLANE_LAYOUT, 0, 0, get_factory};
