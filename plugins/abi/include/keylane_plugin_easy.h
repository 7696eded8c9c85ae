/* keylane_plugin_easy.h - a plugin in C (C99 or later) with one processor: write the functions that you need, name them in
 * KEYLANE_EASY_PLUGIN, and this header does the rest: entry, factory, descriptor, manifest, the walk through batches. Include it in one
 * source file only.
 *
 *   #include "keylane_plugin_easy.h"
 *
 *   typedef struct { uint64_t *bytes; } state;
 *
 *   static keylane_status create(keylane_easy *self, keylane_bytes config) {
 *     (void)config;
 *     ((state *)self->state)->bytes = keylane_easy_cell(self, KEYLANE_CELL_COUNTER, "moved_bytes");
 *     return KEYLANE_OK;
 *   }
 *
 *   static keylane_status on_event(keylane_easy *self, const keylane_event *event) {
 *     const keylane_meta_traffic *traffic = (const keylane_meta_traffic *)keylane_meta_of(event, KEYLANE_TRAFFIC);
 *     if (traffic) keylane_cell_add(((state *)self->state)->bytes, traffic->read_bytes + traffic->written_bytes);
 *     return KEYLANE_OK;
 *   }
 *
 *   KEYLANE_EASY_PLUGIN("org.example.bytes", "0.1.0", 0u,
 *     .state_size = sizeof(state), .create = create, .on_event = on_event)
 *
 * Build: cc -std=c99 -shared -fPIC -O2 -o bytes.so bytes.c
 *
 * C has no exceptions, so nothing stands between a fault of the plugin and the end of the process. */
#ifndef KEYLANE_PLUGIN_EASY_H
#define KEYLANE_PLUGIN_EASY_H

#ifdef __cplusplus
#error "this header is C; for C++ there is keylane_plugin.hpp"
#endif

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "keylane_plugin.h"

/* What every function of the plugin is given. */
typedef struct keylane_easy {
  void *state;                 /* state_size bytes, zero at first; freed behind destroy() */
  const keylane_host *host;
  const keylane_batch *batch;  /* in on_event, else NULL */
  uint32_t index;              /* in on_event: which event of the batch */
  uint32_t shard, shard_count;
  keylane_error *error;        /* where keylane_easy_fail writes; NULL in shutdown and destroy */
} keylane_easy;

/* The plugin. All but on_event may be left out. Each function is called as its counterpart in keylane_plugin.h. */
typedef struct keylane_easy_plugin {
  const char *id, *version;    /* set by KEYLANE_EASY_PLUGIN */
  uint32_t flags;
  uint32_t state_version;      /* with KEYLANE_F_STATEFUL */
  const char *name, *description, *license, *config_schema_json;
  const char *const *event_types;
  size_t state_size;
  keylane_status (*check_config)(keylane_bytes config, keylane_error *);
  keylane_status (*create)(keylane_easy *, keylane_bytes config);
  keylane_status (*on_event)(keylane_easy *, const keylane_event *);
  keylane_status (*flush)(keylane_easy *, uint32_t reason);
  keylane_status (*save_state)(keylane_easy *, const keylane_writer *);
  keylane_status (*load_state)(keylane_easy *, keylane_bytes state, uint32_t state_version);
  void (*shutdown)(keylane_easy *, uint32_t reason);
  void (*destroy)(keylane_easy *);
} keylane_easy_plugin;

/* ---- small things ------------------------------------------------------------------------------------------------------ */

static inline keylane_bytes keylane_text(const char *text) {
  keylane_bytes bytes;
  bytes.ptr = (const uint8_t *)text;
  bytes.len = strlen(text);
  return bytes;
}

static inline keylane_bytes keylane_absent(void) {
  keylane_bytes bytes = {NULL, 0};
  return bytes;
}

/* The event's meta, if it is the one of this type; NULL else. */
static inline const keylane_meta *keylane_meta_of(const keylane_event *event, uint32_t meta_id) {
  const keylane_meta *meta = (const keylane_meta *)event->value.ptr;
  return event->value_kind == KEYLANE_V_META && meta->meta_id == meta_id ? meta : NULL;
}

/* Writes a text into an error, and gives the status back: return keylane_fail(error, KEYLANE_E_CONFIG, "...", ...). */
__attribute__((format(printf, 3, 4))) static inline keylane_status keylane_fail(keylane_error *error, keylane_status status,
                                                                                const char *format, ...) {
  if (error) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(error->message, sizeof error->message, format, arguments);
    va_end(arguments);
  }
  return status;
}

#define keylane_easy_fail(self, status, ...) keylane_fail((self)->error, (status), __VA_ARGS__)

/* A line for the log; formatted only when somebody listens. Up to 1023 bytes. */
__attribute__((format(printf, 3, 4))) static inline void keylane_easy_log(const keylane_easy *self, uint32_t level,
                                                                          const char *format, ...) {
  if (keylane_log_enabled(self->host, level)) {
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    keylane_log_record record = {(uint32_t)sizeof(keylane_log_record), level, keylane_absent(), keylane_text(text),
                                 keylane_absent(), 0, 0, NULL};
    self->host->log(self->host, &record);
  }
}

static inline uint64_t *keylane_easy_cell(const keylane_easy *self, uint32_t kind, const char *name) {
  return self->host->cell(self->host, kind, keylane_text(name), keylane_absent());
}

/* Emits one derived event; fills in its parent. */
static inline keylane_status keylane_easy_emit(const keylane_easy *self, keylane_emit event) {
  size_t accepted = 0;
  event.parent = self->batch ? self->index : KEYLANE_NO_PARENT;
  return self->host->emit(self->host, &event, 1, sizeof event, &accepted);
}

/* ---- the configuration -------------------------------------------------------------------------------------------------- */

enum { KEYLANE_OPTION_U64 = 0, KEYLANE_OPTION_BOOL = 1, KEYLANE_OPTION_TEXT = 2 };

/* A member of a flat configuration. What is not in the configuration keeps the value that it has. */
typedef struct keylane_option {
  const char *name;
  int kind;
  void *value;                 /* uint64_t *, int * (0 or 1), keylane_bytes * (into the configuration) */
  uint64_t least, most;        /* for U64; for TEXT the lengths, unless both are 0 */
} keylane_option;

typedef struct keylane_json {
  const char *at, *end;
} keylane_json;

static inline void keylane_json_space(keylane_json *json) {
  while (json->at < json->end && (*json->at == ' ' || *json->at == '\t' || *json->at == '\n' || *json->at == '\r')) json->at++;
}

static inline int keylane_json_take(keylane_json *json, char c) {
  keylane_json_space(json);
  if (json->at < json->end && *json->at == c) {
    json->at++;
    return 1;
  }
  return 0;
}

static inline int keylane_json_word(keylane_json *json, const char *word) {
  size_t len = strlen(word);
  keylane_json_space(json);
  if ((size_t)(json->end - json->at) < len || memcmp(json->at, word, len) != 0) return 0;
  json->at += len;
  return 1;
}

/* A string without escapes, which no option here needs. */
static inline int keylane_json_text(keylane_json *json, keylane_bytes *out) {
  if (!keylane_json_take(json, '"')) return 0;
  out->ptr = (const uint8_t *)json->at;
  while (json->at < json->end && *json->at != '"') {
    if (*json->at == '\\' || (unsigned char)*json->at < 0x20) return 0;
    json->at++;
  }
  if (json->at == json->end) return 0;
  out->len = (size_t)(json->at - (const char *)out->ptr);
  json->at++;
  return 1;
}

static inline int keylane_json_u64(keylane_json *json, uint64_t *out) {
  const char *begin;
  uint64_t number = 0;
  keylane_json_space(json);
  begin = json->at;
  while (json->at < json->end && *json->at >= '0' && *json->at <= '9') {
    uint64_t digit = (uint64_t)(*json->at - '0');
    if (number > (UINT64_MAX - digit) / 10) return 0;
    number = number * 10 + digit;
    json->at++;
  }
  /* No leading zeros, no fractions, no exponents. */
  if (json->at == begin || (*begin == '0' && json->at - begin > 1)) return 0;
  if (json->at < json->end && (*json->at == '.' || *json->at == 'e' || *json->at == 'E')) return 0;
  *out = number;
  return 1;
}

static inline keylane_status keylane_config_one(keylane_json *json, const keylane_option *option, keylane_error *error) {
  uint64_t number = 0;
  keylane_bytes text = {NULL, 0};
  switch (option->kind) {
    case KEYLANE_OPTION_U64:
      if (!keylane_json_u64(json, &number))
        return keylane_fail(error, KEYLANE_E_CONFIG, "config: %s: is no whole number from %llu to %llu", option->name,
                            (unsigned long long)option->least, (unsigned long long)option->most);
      if (number < option->least || number > option->most)
        return keylane_fail(error, KEYLANE_E_CONFIG, "config: %s: %llu is out of range, use %llu to %llu", option->name,
                            (unsigned long long)number, (unsigned long long)option->least, (unsigned long long)option->most);
      *(uint64_t *)option->value = number;
      return KEYLANE_OK;
    case KEYLANE_OPTION_BOOL:
      if (keylane_json_word(json, "true")) *(int *)option->value = 1;
      else if (keylane_json_word(json, "false")) *(int *)option->value = 0;
      else return keylane_fail(error, KEYLANE_E_CONFIG, "config: %s: is neither true nor false", option->name);
      return KEYLANE_OK;
    default:
      if (!keylane_json_text(json, &text))
        return keylane_fail(error, KEYLANE_E_CONFIG, "config: %s: is no string without escapes", option->name);
      if (option->most && (text.len < option->least || text.len > option->most))
        return keylane_fail(error, KEYLANE_E_CONFIG, "config: %s: has %llu bytes, use %llu to %llu", option->name,
                            (unsigned long long)text.len, (unsigned long long)option->least, (unsigned long long)option->most);
      *(keylane_bytes *)option->value = text;
      return KEYLANE_OK;
  }
}

/* Reads a flat object. A member that is not among the options, or there twice, is an error that names it. At most 64 options. */
static inline keylane_status keylane_config_read(keylane_bytes config, const keylane_option *options, size_t count,
                                                 keylane_error *error) {
  keylane_json json;
  uint64_t seen = 0;
  int more;
  json.at = config.ptr ? (const char *)config.ptr : "{}";
  json.end = json.at + (config.ptr ? config.len : 2);
  if (!keylane_json_take(&json, '{')) return keylane_fail(error, KEYLANE_E_CONFIG, "config: is no JSON object");
  more = !keylane_json_take(&json, '}');
  while (more) {
    keylane_bytes name = {NULL, 0};
    size_t i = 0;
    keylane_status status;
    if (!keylane_json_text(&json, &name) || !keylane_json_take(&json, ':'))
      return keylane_fail(error, KEYLANE_E_CONFIG, "config: is no flat JSON object, from byte %ld on",
                          (long)(json.at - (const char *)config.ptr));
    while (i < count && (strlen(options[i].name) != name.len || memcmp(options[i].name, name.ptr, name.len) != 0)) i++;
    if (i == count) {
      char known[256] = "";
      size_t j, used = 0;
      for (j = 0; j < count && used < sizeof known; j++) {
        int wrote = snprintf(known + used, sizeof known - used, "%s%s", j ? ", " : "", options[j].name);
        used += wrote > 0 ? (size_t)wrote : 0;
      }
      return keylane_fail(error, KEYLANE_E_CONFIG, "config: unknown field \"%.*s\", expected one of: %s",
                          (int)(name.len < 64 ? name.len : 64), (const char *)name.ptr, known);
    }
    if (seen >> i & 1) return keylane_fail(error, KEYLANE_E_CONFIG, "config: %s: is there twice", options[i].name);
    seen |= (uint64_t)1 << i;
    status = keylane_config_one(&json, &options[i], error);
    if (status != KEYLANE_OK) return status;
    more = keylane_json_take(&json, ',');
    if (!more && !keylane_json_take(&json, '}'))
      return keylane_fail(error, KEYLANE_E_CONFIG, "config: behind %s: neither , nor }", options[i].name);
  }
  keylane_json_space(&json);
  if (json.at != json.end) return keylane_fail(error, KEYLANE_E_CONFIG, "config: something comes behind the object");
  return KEYLANE_OK;
}

/* ---- behind the macro --------------------------------------------------------------------------------------------------- */

typedef struct keylane_easy_instance {
  keylane_processor raw;
  keylane_easy self;
  const keylane_easy_plugin *plugin;
} keylane_easy_instance;

static inline keylane_status keylane_easy_process(keylane_processor *raw, const keylane_batch *batch, keylane_batch_result *result) {
  keylane_easy_instance *instance = (keylane_easy_instance *)raw->data;
  keylane_easy *self = &instance->self;
  keylane_status status = KEYLANE_OK;
  uint32_t i = 0;
  self->batch = batch;
  self->error = result->error;
  for (; i < batch->count; i++) {
    self->index = i;
    status = instance->plugin->on_event(self, keylane_event_at(batch, i));
    if (status != KEYLANE_OK) break;
  }
  self->batch = NULL;
  self->error = NULL;
  result->processed = i;
  return status;
}

static inline keylane_status keylane_easy_flush(keylane_processor *raw, uint32_t reason, keylane_error *error) {
  keylane_easy_instance *instance = (keylane_easy_instance *)raw->data;
  keylane_status status;
  instance->self.error = error;
  status = instance->plugin->flush(&instance->self, reason);
  instance->self.error = NULL;
  return status;
}

static inline keylane_status keylane_easy_save_state(keylane_processor *raw, const keylane_writer *writer, keylane_error *error) {
  keylane_easy_instance *instance = (keylane_easy_instance *)raw->data;
  keylane_status status;
  instance->self.error = error;
  status = instance->plugin->save_state(&instance->self, writer);
  instance->self.error = NULL;
  return status;
}

static inline keylane_status keylane_easy_load_state(keylane_processor *raw, keylane_bytes state, uint32_t version, keylane_error *error) {
  keylane_easy_instance *instance = (keylane_easy_instance *)raw->data;
  keylane_status status;
  instance->self.error = error;
  status = instance->plugin->load_state(&instance->self, state, version);
  instance->self.error = NULL;
  return status;
}

static inline void keylane_easy_shutdown(keylane_processor *raw, uint32_t reason) {
  keylane_easy_instance *instance = (keylane_easy_instance *)raw->data;
  instance->plugin->shutdown(&instance->self, reason);
}

static inline void keylane_easy_destroy(keylane_processor *raw) {
  keylane_easy_instance *instance = (keylane_easy_instance *)raw->data;
  if (instance->plugin->destroy) instance->plugin->destroy(&instance->self);
  free(instance->self.state);
  free(instance);
}

static inline keylane_status keylane_easy_create(const keylane_easy_plugin *plugin, const char *id, const keylane_host *host,
                                                 const keylane_create_args *args, keylane_processor **out, keylane_error *error) {
  keylane_easy_instance *instance;
  keylane_status status;
  if (strcmp(id, plugin->id) != 0)
    return keylane_fail(error, KEYLANE_E_INVALID, "there is no processor \"%.64s\" in this plugin; there is %s", id, plugin->id);
  if (!KEYLANE_HAS(host, keylane_host, get_extension) || !KEYLANE_HAS(args, keylane_create_args, instance_name))
    return keylane_fail(error, KEYLANE_E_ABI, "the host's structs are smaller than those of minor 0");
  if (plugin->check_config) {
    status = plugin->check_config(args->config_json, error);
    if (status != KEYLANE_OK) return status;
  }
  instance = (keylane_easy_instance *)calloc(1, sizeof *instance);
  if (!instance) return keylane_fail(error, KEYLANE_E_NOMEM, "no memory for an instance");
  instance->self.state = calloc(1, plugin->state_size ? plugin->state_size : 1);
  if (!instance->self.state) {
    free(instance);
    return keylane_fail(error, KEYLANE_E_NOMEM, "no memory for %lu bytes of state", (unsigned long)plugin->state_size);
  }
  instance->plugin = plugin;
  instance->self.host = host;
  instance->self.shard = args->shard;
  instance->self.shard_count = args->shard_count;
  instance->self.error = error;
  instance->raw.struct_size = (uint32_t)sizeof instance->raw;
  instance->raw.data = instance;
  instance->raw.process = keylane_easy_process;
  instance->raw.flush = plugin->flush ? keylane_easy_flush : NULL;
  instance->raw.save_state = plugin->save_state ? keylane_easy_save_state : NULL;
  instance->raw.load_state = plugin->load_state ? keylane_easy_load_state : NULL;
  instance->raw.shutdown = plugin->shutdown ? keylane_easy_shutdown : NULL;
  instance->raw.destroy = keylane_easy_destroy;
  status = plugin->create ? plugin->create(&instance->self, args->config_json) : KEYLANE_OK;
  instance->self.error = NULL;
  if (status != KEYLANE_OK) {
    keylane_easy_destroy(&instance->raw);
    return status;
  }
  *out = &instance->raw;
  return KEYLANE_OK;
}

/* Defines the plugin: id, version and flags, for the manifest has them too, then members of keylane_easy_plugin. When create() fails,
 * destroy() is called all the same: what it frees must be zero or its own. */
#define KEYLANE_EASY_PLUGIN(plugin_id, plugin_version, plugin_flags, ...)                                                  \
  static const keylane_easy_plugin keylane_easy_the = {                                                                   \
      .id = plugin_id, .version = plugin_version, .flags = (plugin_flags), __VA_ARGS__};                                  \
  static uint32_t keylane_easy_count(void) { return 1; }                                                                  \
  static const keylane_descriptor *keylane_easy_descriptor(uint32_t index) {                                              \
    static keylane_descriptor descriptor;                                                                                 \
    /* Every call writes the same, so it does not matter that two may at once. */                                         \
    descriptor.flags = keylane_easy_the.flags;                                                                            \
    descriptor.state_version = keylane_easy_the.state_version;                                                            \
    descriptor.id = keylane_easy_the.id;                                                                                  \
    descriptor.version = keylane_easy_the.version;                                                                        \
    descriptor.name = keylane_easy_the.name;                                                                              \
    descriptor.description = keylane_easy_the.description;                                                                \
    descriptor.license = keylane_easy_the.license;                                                                        \
    descriptor.config_schema_json = keylane_easy_the.config_schema_json;                                                  \
    descriptor.event_types = keylane_easy_the.event_types;                                                                \
    descriptor.struct_size = (uint32_t)sizeof descriptor;                                                                 \
    return index == 0 ? &descriptor : NULL;                                                                               \
  }                                                                                                                       \
  static keylane_status keylane_easy_check_config(const char *id, keylane_bytes config, keylane_error *error) {           \
    if (strcmp(id, keylane_easy_the.id) != 0)                                                                             \
      return keylane_fail(error, KEYLANE_E_INVALID, "there is no processor \"%.64s\" in this plugin", id);                \
    return keylane_easy_the.check_config ? keylane_easy_the.check_config(config, error) : KEYLANE_OK;                     \
  }                                                                                                                       \
  static keylane_status keylane_easy_create_it(const char *id, const keylane_host *host, const keylane_create_args *args, \
                                               keylane_processor **out, keylane_error *error) {                           \
    return keylane_easy_create(&keylane_easy_the, id, host, args, out, error);                                            \
  }                                                                                                                       \
  static const void *keylane_easy_get_factory(const char *factory_id) {                                                   \
    static const keylane_factory factory = {(uint32_t)sizeof(keylane_factory), 0, keylane_easy_count,                     \
                                            keylane_easy_descriptor, keylane_easy_check_config, keylane_easy_create_it};  \
    return strcmp(factory_id, KEYLANE_FACTORY_ID) == 0 ? &factory : NULL;                                                 \
  }                                                                                                                       \
  KEYLANE_EXPORT const keylane_entry keylane_plugin_entry_v1 = {                                                          \
      KEYLANE_MAGIC, (uint32_t)sizeof(keylane_entry), KEYLANE_ABI_VERSION, KEYLANE_LAYOUT, NULL, NULL,                    \
      keylane_easy_get_factory};                                                                                          \
  KEYLANE_PLUGIN_MANIFEST(plugin_id, plugin_version, (plugin_flags), 1u);

#endif
