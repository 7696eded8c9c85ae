// keylane_plugin.hpp - a plugin in C++17 with one processor: derive from keylane::processor, name the class in KEYLANE_CPP_PLUGIN.
// Include it in one source file only.
//
//   #include "keylane_plugin.hpp"
//
//   class bytes : public keylane::processor {
//     uint64_t *moved_;
//
//    public:
//     bytes(keylane::context cx, std::string_view) : moved_(cx.counter("moved_bytes")) {}
//     void on_event(keylane::context, const keylane_event &event) override {
//       if (auto *traffic = keylane::meta<keylane_meta_traffic>(event, KEYLANE_TRAFFIC))
//         keylane_cell_add(moved_, traffic->read_bytes + traffic->written_bytes);
//     }
//   };
//
//   KEYLANE_CPP_PLUGIN(bytes, "org.example.bytes", "0.1.0", 0u, {})
//
// Build: c++ -std=c++17 -shared -fPIC -O2 -fvisibility=hidden -o bytes.so bytes.cpp
//
// No exception leaves the plugin: each function of the ABI is a try block here. What is thrown becomes a status:
//
//   keylane::again      the event is offered again       keylane::bad_event    the event is lost, delivery goes on
//   keylane::fatal      the instance is given up         anything else         E_PANIC: the event is lost, the instance given up
//
// In the constructor, whatever is thrown refuses the configuration.
#ifndef KEYLANE_PLUGIN_HPP
#define KEYLANE_PLUGIN_HPP

#include <cstring>
#include <exception>
#include <new>
#include <stdexcept>
#include <string>
#include <string_view>

#include "keylane_plugin.h"

namespace keylane {

inline keylane_bytes bytes_of(std::string_view text) noexcept {
  return keylane_bytes{reinterpret_cast<const uint8_t *>(text.data()), text.size()};
}

inline std::string_view text_of(keylane_bytes bytes) noexcept {
  return std::string_view(reinterpret_cast<const char *>(bytes.ptr), bytes.len);
}

// The event's meta, if it is the one of this type.
template <class Meta>
const Meta *meta(const keylane_event &event, uint32_t meta_id) noexcept {
  auto *meta = static_cast<const keylane_meta *>(event.value.ptr);
  return event.value_kind == KEYLANE_V_META && meta->meta_id == meta_id ? reinterpret_cast<const Meta *>(meta) : nullptr;
}

struct again : std::runtime_error {
  uint64_t retry_after_ns;
  explicit again(const std::string &why, uint64_t after_ns = 0) : std::runtime_error(why), retry_after_ns(after_ns) {}
};
struct bad_event : std::runtime_error {
  using std::runtime_error::runtime_error;
};
struct fatal : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// The host, for the time of a call.
class context {
  const keylane_host *host_;
  uint32_t parent_;

 public:
  uint32_t shard = 0, shard_count = 1;

  explicit context(const keylane_host *host, uint32_t parent = KEYLANE_NO_PARENT) noexcept : host_(host), parent_(parent) {}

  const keylane_host *raw() const noexcept { return host_; }

  // A cell of the host, which may be null; see keylane_cell_add and keylane_cell_set, which take null.
  uint64_t *counter(std::string_view name, std::string_view labels_json = {}) const noexcept {
    return host_->cell(host_, KEYLANE_CELL_COUNTER, bytes_of(name), labels_json.empty() ? keylane_bytes{} : bytes_of(labels_json));
  }
  uint64_t *gauge(std::string_view name) const noexcept {
    return host_->cell(host_, KEYLANE_CELL_GAUGE, bytes_of(name), keylane_bytes{});
  }

  bool log_enabled(uint32_t level) const noexcept { return keylane_log_enabled(host_, level) != 0; }
  void log(uint32_t level, std::string_view message) const noexcept {
    if (!log_enabled(level)) return;
    keylane_log_record record{};
    record.struct_size = sizeof record;
    record.level = level;
    record.message = bytes_of(message);
    host_->log(host_, &record);
  }

  std::string_view type_name(uint32_t type_id) const noexcept { return text_of(host_->type_name(host_, type_id)); }

  // The event of the current batch as JSON, which lives until the batch is done.
  std::string_view json(const keylane_event &event) const {
    keylane_bytes out{};
    if (host_->render(host_, &event, KEYLANE_RENDER_JSON, &out) != KEYLANE_OK) throw bad_event("the value has no form as JSON");
    return text_of(out);
  }

  // Emits a derived event, whose parent is filled in.
  keylane_status emit(keylane_emit event) const noexcept {
    size_t accepted = 0;
    event.parent = parent_;
    return host_->emit(host_, &event, 1, sizeof event, &accepted);
  }
};

// What people read about a plugin. All may be null.
struct about {
  const char *name = nullptr, *description = nullptr, *license = nullptr;
  const char *config_schema_json = nullptr;    // a JSON Schema
  const char *const *event_types = nullptr;    // names, null behind the last: only these are delivered
};

// What a plugin derives from. Its constructor takes a context and the configuration as JSON text.
class processor {
 public:
  virtual ~processor() = default;
  virtual void on_event(context cx, const keylane_event &event) = 0;
  virtual void flush(context, uint32_t /*reason*/) {}
  virtual void shutdown(context, uint32_t /*reason*/) {}
};

namespace detail {

inline void say(keylane_error *error, const char *text) noexcept {
  if (!error) return;
  const size_t most = sizeof error->message - 1, len = std::strlen(text) < most ? std::strlen(text) : most;
  std::memcpy(error->message, text, len);
  error->message[len] = 0;
}

// Runs `f`, which returns nothing, and makes a status of what it throws.
template <class F>
keylane_status guard(keylane_error *error, uint64_t *retry_after_ns, F &&f) noexcept {
  try {
    f();
    return KEYLANE_OK;
  } catch (const again &stop) {
    if (retry_after_ns) *retry_after_ns = stop.retry_after_ns;
    say(error, stop.what());
    return KEYLANE_AGAIN;
  } catch (const bad_event &stop) {
    say(error, stop.what());
    return KEYLANE_E_EVENT;
  } catch (const fatal &stop) {
    say(error, stop.what());
    return KEYLANE_E_FATAL;
  } catch (const std::exception &thrown) {
    say(error, thrown.what());
    return KEYLANE_E_PANIC;
  } catch (...) {
    say(error, "something was thrown that is no std::exception");
    return KEYLANE_E_PANIC;
  }
}

struct instance {
  keylane_processor raw;
  const keylane_host *host;
  processor *self;
  uint32_t shard, shard_count;
  bool poisoned;

  static instance *of(keylane_processor *raw) noexcept { return static_cast<instance *>(raw->data); }

  context cx(uint32_t parent = KEYLANE_NO_PARENT) const noexcept {
    context cx(host, parent);
    cx.shard = shard;
    cx.shard_count = shard_count;
    return cx;
  }
};

inline keylane_status process(keylane_processor *raw, const keylane_batch *batch, keylane_batch_result *result) noexcept {
  instance *self = instance::of(raw);
  if (self->poisoned) {
    say(result->error, "the instance has thrown before and takes no more calls");
    return KEYLANE_E_FATAL;
  }
  uint32_t i = 0;
  const keylane_status status = guard(result->error, &result->retry_after_ns, [&] {
    for (; i < batch->count; i++) self->self->on_event(self->cx(i), *keylane_event_at(batch, i));
  });
  self->poisoned = status == KEYLANE_E_PANIC;
  result->processed = i;
  return status;
}

inline keylane_status flush(keylane_processor *raw, uint32_t reason, keylane_error *error) noexcept {
  instance *self = instance::of(raw);
  if (self->poisoned) return KEYLANE_E_FATAL;
  const keylane_status status = guard(error, nullptr, [&] { self->self->flush(self->cx(), reason); });
  self->poisoned = status == KEYLANE_E_PANIC;
  return status;
}

inline void shutdown(keylane_processor *raw, uint32_t reason) noexcept {
  instance *self = instance::of(raw);
  if (!self->poisoned) guard(nullptr, nullptr, [&] { self->self->shutdown(self->cx(), reason); });
}

inline void destroy(keylane_processor *raw) noexcept {
  instance *self = instance::of(raw);
  guard(nullptr, nullptr, [&] { delete self->self; });
  delete self;
}

template <class Processor>
keylane_status create(const char *id, const char *own_id, const keylane_host *host, const keylane_create_args *args,
                      keylane_processor **out, keylane_error *error) noexcept {
  if (std::strcmp(id, own_id) != 0) {
    say(error, "there is no processor of this id in this plugin");
    return KEYLANE_E_INVALID;
  }
  if (!KEYLANE_HAS(host, keylane_host, get_extension) || !KEYLANE_HAS(args, keylane_create_args, instance_name)) {
    say(error, "the host's structs are smaller than those of minor 0");
    return KEYLANE_E_ABI;
  }
  auto *made = new (std::nothrow) instance{};
  if (!made) return KEYLANE_E_NOMEM;
  made->host = host;
  made->shard = args->shard;
  made->shard_count = args->shard_count;
  made->raw.struct_size = sizeof made->raw;
  made->raw.data = made;
  made->raw.process = process;
  made->raw.flush = flush;
  made->raw.shutdown = shutdown;
  made->raw.destroy = destroy;
  const keylane_status status = guard(error, nullptr, [&] {
    const std::string_view config = args->config_json.ptr ? text_of(args->config_json) : std::string_view("{}");
    made->self = new Processor(made->cx(), config);
  });
  if (status != KEYLANE_OK) {
    delete made;
    return KEYLANE_E_CONFIG;
  }
  *out = &made->raw;
  return KEYLANE_OK;
}

}  // namespace detail
}  // namespace keylane

// Defines the plugin: the class, its id and version, flags (KEYLANE_F_PANIC_UNWIND is added), and what people read, a keylane::about in
// braces; {} for none of it.
#define KEYLANE_CPP_PLUGIN(Class, plugin_id, plugin_version, plugin_flags, ...)                                            \
  extern "C" {                                                                                                            \
  static uint32_t keylane_cpp_count(void) { return 1; }                                                                   \
  static const keylane_descriptor *keylane_cpp_descriptor(uint32_t index) {                                               \
    static const keylane_descriptor descriptor = [] {                                                                     \
      const keylane::about texts = __VA_ARGS__;                                                                                  \
      keylane_descriptor made{};                                                                                          \
      made.struct_size = sizeof made;                                                                                     \
      made.flags = (plugin_flags) | KEYLANE_F_PANIC_UNWIND;                                                               \
      made.id = plugin_id;                                                                                                \
      made.version = plugin_version;                                                                                      \
      made.name = texts.name;                                                                                             \
      made.description = texts.description;                                                                               \
      made.license = texts.license;                                                                                       \
      made.config_schema_json = texts.config_schema_json;                                                                 \
      made.event_types = texts.event_types;                                                                               \
      return made;                                                                                                        \
    }();                                                                                                                  \
    return index == 0 ? &descriptor : nullptr;                                                                            \
  }                                                                                                                       \
  static keylane_status keylane_cpp_create(const char *id, const keylane_host *host, const keylane_create_args *args,     \
                                           keylane_processor **out, keylane_error *error) {                               \
    return keylane::detail::create<Class>(id, plugin_id, host, args, out, error);                                         \
  }                                                                                                                       \
  static const void *keylane_cpp_get_factory(const char *factory_id) {                                                    \
    static const keylane_factory factory = {sizeof(keylane_factory), 0, keylane_cpp_count, keylane_cpp_descriptor,        \
                                            nullptr, keylane_cpp_create};                                                 \
    return std::strcmp(factory_id, KEYLANE_FACTORY_ID) == 0 ? &factory : nullptr;                                         \
  }                                                                                                                       \
  const keylane_entry keylane_plugin_entry_v1 = {                                                                         \
      KEYLANE_MAGIC, sizeof(keylane_entry), KEYLANE_ABI_VERSION, KEYLANE_LAYOUT, nullptr, nullptr, keylane_cpp_get_factory}; \
  }                                                                                                                       \
  KEYLANE_PLUGIN_MANIFEST(plugin_id, plugin_version, (plugin_flags) | KEYLANE_F_PANIC_UNWIND, 1u);

#endif
