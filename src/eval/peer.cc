#include "eval/peer.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "base/child_process.h"
#include "base/error.h"

namespace tender::eval {
namespace {

/// What is asked comes as a line of JSON, and so does the answer. What libraries print goes to
/// standard error. Times are taken around the engine's own calls, so that Python costs nothing but
/// one call for each decoded token.
constexpr const char* kScript = R"PY(
import ctypes, json, os, sys, time

answers = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(2, 1)
name, path, threads, context = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])


class LlamaCpp:
    def __init__(self):
        import llama_cpp as api
        self.api = api
        api.llama_backend_init()
        of_model = api.llama_model_default_params()
        of_model.n_gpu_layers = 0
        self.model = api.llama_model_load_from_file(path.encode(), of_model)
        if not self.model:
            raise SystemExit("llama.cpp cannot load " + path)
        of_context = api.llama_context_default_params()
        of_context.n_ctx = context + 8
        of_context.n_batch = of_context.n_ubatch = 512
        of_context.n_threads = of_context.n_threads_batch = threads
        self.context = api.llama_init_from_model(self.model, of_context)
        self.version = "llama-cpp-python " + api.__version__
        self.system = api.llama_print_system_info().decode()

    def feed(self, tokens):
        ids = (self.api.llama_token * len(tokens))(*tokens)
        if self.api.llama_decode(self.context, self.api.llama_batch_get_one(ids, len(tokens))) != 0:
            raise SystemExit("llama_decode failed")
        self.api.llama_get_logits_ith(self.context, -1)  # waits for them

    def clear(self):
        self.api.llama_memory_clear(self.api.llama_get_memory(self.context), True)

    def prefill(self, tokens):
        self.clear()
        start = time.perf_counter()
        for begin in range(0, len(tokens), 512):
            self.feed(tokens[begin:begin + 512])
        return time.perf_counter() - start

    def decode(self, first, count):
        self.clear()
        start = time.perf_counter()
        for i in range(count):
            self.feed([first])
        return time.perf_counter() - start


class OpenVino:
    def __init__(self):
        import numpy, openvino, openvino_genai
        self.numpy, self.openvino, self.genai = numpy, openvino, openvino_genai
        self.pipe = openvino_genai.LLMPipeline(path, "CPU", INFERENCE_NUM_THREADS=threads)
        self.version = "openvino-genai " + openvino_genai.__version__
        self.system = ""

    def generate(self, tokens, count):
        settings = self.genai.GenerationConfig()
        settings.max_new_tokens, settings.ignore_eos, settings.apply_chat_template = count, True, False
        ids = self.openvino.Tensor(self.numpy.array([tokens], dtype=self.numpy.int64))
        mask = self.openvino.Tensor(self.numpy.ones((1, len(tokens)), dtype=self.numpy.int64))
        return self.pipe.generate(self.genai.TokenizedInputs(ids, mask), settings).perf_metrics

    def prefill(self, tokens):
        return self.generate(tokens, 1).get_ttft().mean / 1000

    def decode(self, first, count):
        return self.generate([first], count + 1).get_tpot().mean / 1000 * count


try:
    engine = {"llama.cpp": LlamaCpp, "openvino": OpenVino}[name]()
except ImportError as error:
    packages = {"llama.cpp": "llama-cpp-python", "openvino": "openvino-genai"}
    raise SystemExit("the Python package " + packages[name] + " is needed: " + str(error))
print(json.dumps({"version": engine.version, "system": engine.system}), file=answers)
for line in sys.stdin:
    asked = json.loads(line)
    seconds = engine.prefill(asked["tokens"]) if "tokens" in asked else engine.decode(asked["first"], asked["count"])
    print(json.dumps({"seconds": seconds}), file=answers)
)PY";

constexpr std::array<std::string_view, 2> kNames = {"llama.cpp", "openvino"};

class ChildPeer : public Peer {
 public:
  ChildPeer(const PeerRequest& request, const Progress& progress)
      : progress_(progress),
        child_({request.python, "-u", "-c", kScript, request.name, request.model.string(),
                std::to_string(request.threads), std::to_string(request.context)}) {
    const Json hello = answer();
    if (!hello.contains("version") || !hello["version"].is_string() || !hello.contains("system") ||
        !hello["system"].is_string())
      refuse(hello.dump());
    version_ = hello["version"].get<std::string>();
    system_ = hello["system"].get<std::string>();
  }

  double prefill(std::span<const model::TokenId> prompt) override {
    return ask({{"tokens", std::vector<model::TokenId>(prompt.begin(), prompt.end())}});
  }
  double decode(model::TokenId first, std::size_t tokens) override {
    return ask({{"first", first}, {"count", tokens}});
  }
  const std::string& version() const override { return version_; }
  const std::string& system() const override { return system_; }

 private:
  [[noreturn]] static void refuse(const std::string& line) {
    fail(ErrorKind::io,
         {.code = "CHILD_ANSWER",
          .item = "--peer-python",
          .found = line,
          .expected = "a line of JSON from the script that tender runs",
          .hint = "is it a Python interpreter?"},
         "the other engine answered {}", quote(line));
  }
  /// An object.
  Json answer() {
    const std::string line = child_.read_line(progress_);
    Json json = Json::parse(line, nullptr, false);
    if (!json.is_object()) refuse(line);
    return json;
  }
  double ask(const Json& question) {
    child_.write_line(question.dump());
    const Json found = answer();
    if (!found.contains("seconds") || !found["seconds"].is_number()) refuse(found.dump());
    return std::max(1e-9, found["seconds"].get<double>());
  }

  const Progress& progress_;
  ChildProcess child_;
  std::string version_;
  std::string system_;
};

}  // namespace

std::vector<std::string_view> peer_names() { return {kNames.begin(), kNames.end()}; }

std::unique_ptr<Peer> start_peer(const PeerRequest& request, const Progress& progress) {
  if (std::ranges::find(kNames, request.name) == kNames.end())
    fail(ErrorKind::invalid_argument,
         {.code = "PEER_UNKNOWN",
          .item = "--compare",
          .found = request.name,
          .expected = "llama.cpp or openvino",
          .hint = "choose one of them"},
         "no peer {}; this build knows llama.cpp and openvino", quote(request.name));
  return std::make_unique<ChildPeer>(request, progress);
}

}  // namespace tender::eval
