// oneDNN's primitives of recurrent cells in f32, for whichever libdnnl.so.3 the loader finds.
//
// Weights lie in the layout that the library asks for before the clock starts, and gradients stay in that layout.
// Zero initial states and their gradients are passed explicitly: where both ends are left out, the gradient of R comes
// out wrong.

#include <algorithm>
#include <chrono>
#include <cstring>
#include <fstream>
#include <iostream>
#include <memory>
#include <oneapi/dnnl/dnnl.hpp>
#include <sstream>
#include <stdexcept>
#include <unordered_map>
#include <vector>

using dnnl::memory;
using Arguments = std::unordered_map<int, memory>;
using Description = memory::desc;
using Tag = memory::format_tag;

static dnnl::engine engine;
static dnnl::stream stream;

static void check(dnnl_status_t status, const char *what) {
    if (status != dnnl_success) throw std::runtime_error(what + (": status " + std::to_string(status)));
}

static Description describe(memory::dims dims, Tag tag) { return {dims, memory::data_type::f32, tag}; }

static memory fill(const Description &description, const float *values) {
    memory result(description, engine);
    void *data = result.map_data();
    if (values) std::memcpy(data, values, description.get_size());
    else std::memset(data, 0, description.get_size());
    result.unmap_data(data);
    return result;
}

static void append(std::vector<float> &values, const memory &from) {
    size_t old = values.size();
    values.resize(old + from.get_desc().get_size() / sizeof(float));
    void *data = from.map_data();
    std::memcpy(&values[old], data, from.get_desc().get_size());
    from.unmap_data(data);
}

static memory reordered(memory from, const Description &to) {
    memory result(to, engine);
    dnnl::reorder(from, result).execute(stream, from, result);
    stream.wait();
    return result;
}

// The C++ wrapper of the backward pass hides the flag without which weight gradients are added up from call to call.
struct Primitive {
    dnnl::primitive primitive;
    dnnl_primitive_desc_t description = nullptr;

    ~Primitive() {
        if (description) dnnl_primitive_desc_destroy(description);
    }

    void make() {
        dnnl_primitive_t made = nullptr;
        check(dnnl_primitive_create(&made, description), "the primitive");
        primitive.reset(made);
    }

    Description asked(int argument) const {
        dnnl_memory_desc_t copy = nullptr;
        auto found = dnnl_primitive_desc_query_md(description, dnnl_query_exec_arg_md, argument);
        check(dnnl_memory_desc_clone(&copy, found), "a query");
        Description result;
        result.reset(copy);
        return result;
    }
};

struct Cell {
    // Rows of W and of R for each unit, and biases of each.
    memory::dim gates, biases;
    bool has_cell_state;
};

static const std::unordered_map<std::string, Cell> cells = {
    {"lstm", {4, 4, true}}, {"gru", {3, 4, false}}, {"gru-reset-before", {3, 3, false}}, {"rnn", {1, 1, false}}};

struct Layer {
    memory::dim t, b, x, h;
    std::string mode, name;
    Cell cell;
    Description input_plain, hidden_plain, state_plain, bias_plain, weight_ih_plain, weight_hh_plain, any_ih, any_hh;
    memory weight_ih, weight_hh, packed_ih, packed_hh;
    Primitive forward, backward;
    // For a stream, one for each call; else one.
    std::vector<Arguments> forward_arguments;
    Arguments backward_arguments;
    size_t next = 0, last = 0;

    Layer(std::istream &words) {
        std::string folder;
        words >> mode >> t >> b >> x >> h >> folder >> name;
        cell = cells.at(name);
        std::ifstream file(folder + "/case.f32", std::ios::binary);
        auto take = [&](memory::dim count) {
            std::vector<float> values(count);
            file.read(reinterpret_cast<char *>(values.data()), count * sizeof(float));
            if (!file) throw std::runtime_error("the case is too short");
            return values;
        };
        auto input = take(t * b * x), w = take(cell.gates * h * x), r = take(cell.gates * h * h);
        auto bias = take(cell.biases * h), cotangent = take(t * b * h);
        in_order(w.begin(), h * x);
        in_order(r.begin(), h * h);
        in_order(bias.begin(), h);

        bool stream = mode == "step" || mode == "stream", train = mode == "train";
        // Of a call.
        memory::dim steps = mode == "step" ? 1 : stream ? 64 : t;
        input_plain = describe({steps, b, x}, Tag::tnc), hidden_plain = describe({steps, b, h}, Tag::tnc);
        state_plain = describe({1, 1, b, h}, Tag::ldnc), bias_plain = describe({1, 1, cell.biases, h}, Tag::ldgo);
        any_ih = describe({1, 1, x, cell.gates, h}, Tag::any), any_hh = describe({1, 1, h, cell.gates, h}, Tag::any);
        weight_ih_plain = describe({1, 1, x, cell.gates, h}, Tag::ldgoi);
        weight_hh_plain = describe({1, 1, h, cell.gates, h}, Tag::ldgoi);

        check(describe_forward(train ? dnnl_forward_training : dnnl_forward_inference), "the forward description");
        forward.make();
        weight_ih = fill(weight_ih_plain, w.data());
        weight_hh = fill(weight_hh_plain, r.data());
        pack();

        memory states[2][2];
        for (auto &state : states)
            for (auto &part : state) part = fill(state_plain, nullptr);
        memory workspace;
        if (train) workspace = memory(forward.asked(DNNL_ARG_WORKSPACE), engine);
        // An even number of calls, so that the two states take turns all the way round.
        for (memory::dim first = 0; first < t; first += steps) {
            bool odd = stream && first / steps % 2;
            auto &from = states[odd], &to = states[!odd];
            Arguments arguments = {
                {DNNL_ARG_SRC_LAYER, fill(input_plain, &input[first * b * x])},
                {DNNL_ARG_SRC_ITER, from[0]},
                {DNNL_ARG_WEIGHTS_LAYER, packed_ih}, {DNNL_ARG_WEIGHTS_ITER, packed_hh},
                {DNNL_ARG_BIAS, fill(bias_plain, bias.data())},
                {DNNL_ARG_DST_LAYER, fill(hidden_plain, nullptr)},
                {DNNL_ARG_DST_ITER, to[0]},
            };
            if (cell.has_cell_state) {
                arguments[DNNL_ARG_SRC_ITER_C] = from[1];
                arguments[DNNL_ARG_DST_ITER_C] = to[1];
            }
            if (train) arguments[DNNL_ARG_WORKSPACE] = workspace;
            forward_arguments.push_back(arguments);
        }
        if (!train) return;

        check(describe_backward(), "the backward description");
        backward.make();
        backward_arguments = forward_arguments[0];
        backward_arguments[DNNL_ARG_WEIGHTS_LAYER] = reordered(weight_ih, backward.asked(DNNL_ARG_WEIGHTS_LAYER));
        backward_arguments[DNNL_ARG_WEIGHTS_ITER] = reordered(weight_hh, backward.asked(DNNL_ARG_WEIGHTS_ITER));
        backward_arguments[DNNL_ARG_DIFF_DST_LAYER] = fill(hidden_plain, cotangent.data());
        backward_arguments[DNNL_ARG_DIFF_SRC_LAYER] = fill(input_plain, nullptr);
        std::vector<int> states_of_both = {DNNL_ARG_DIFF_DST_ITER, DNNL_ARG_DIFF_SRC_ITER};
        if (cell.has_cell_state)
            states_of_both.insert(states_of_both.end(), {DNNL_ARG_DIFF_DST_ITER_C, DNNL_ARG_DIFF_SRC_ITER_C});
        for (int argument : states_of_both) backward_arguments[argument] = fill(state_plain, nullptr);
        for (int argument : {DNNL_ARG_DIFF_WEIGHTS_LAYER, DNNL_ARG_DIFF_WEIGHTS_ITER, DNNL_ARG_DIFF_BIAS})
            backward_arguments[argument] = memory(backward.asked(argument), engine);
    }

    // A GRU's gates lie as r, z, n in the case and as z, r, n here: either way, the first two change places.
    void in_order(std::vector<float>::iterator gates, memory::dim size) const {
        if (cell.gates == 3) std::swap_ranges(gates, gates + size, gates + size);
    }

    dnnl_status_t describe_forward(dnnl_prop_kind_t kind) {
        auto direction = dnnl_unidirectional_left2right;
        auto raw = [](const Description &description) { return const_dnnl_memory_desc_t(description.get(true)); };
        auto input = raw(input_plain), state = raw(state_plain), ih = raw(any_ih), hh = raw(any_hh);
        auto bias = raw(bias_plain), hidden = raw(hidden_plain);
        if (name == "lstm")
            return dnnl_lstm_forward_primitive_desc_create(&forward.description, engine.get(), kind, direction, input,
                state, state, ih, hh, nullptr, nullptr, bias, hidden, state, state, dnnl_rnn_flags_undef, nullptr);
        if (name == "rnn")
            return dnnl_vanilla_rnn_forward_primitive_desc_create(&forward.description, engine.get(), kind,
                dnnl_eltwise_tanh, direction, input, state, ih, hh, bias, hidden, state, dnnl_rnn_flags_undef, 0, 0,
                nullptr);
        auto create = name == "gru" ? dnnl_lbr_gru_forward_primitive_desc_create : dnnl_gru_forward_primitive_desc_create;
        return create(&forward.description, engine.get(), kind, direction, input, state, ih, hh, bias, hidden, state,
            dnnl_rnn_flags_undef, nullptr);
    }

    dnnl_status_t describe_backward() {
        auto kind = dnnl_backward;
        auto direction = dnnl_unidirectional_left2right;
        auto flags = dnnl_rnn_flags_diff_weights_overwrite;
        auto raw = [](const Description &description) { return const_dnnl_memory_desc_t(description.get(true)); };
        auto input = raw(input_plain), state = raw(state_plain), ih = raw(any_ih), hh = raw(any_hh);
        auto bias = raw(bias_plain), hidden = raw(hidden_plain);
        if (name == "lstm")
            return dnnl_lstm_backward_primitive_desc_create(&backward.description, engine.get(), kind, direction, input,
                state, state, ih, hh, nullptr, nullptr, bias, hidden, state, state, input, state, state, ih, hh, nullptr,
                nullptr, bias, hidden, state, state, flags, forward.description, nullptr);
        if (name == "rnn")
            return dnnl_vanilla_rnn_backward_primitive_desc_create(&backward.description, engine.get(), kind,
                dnnl_eltwise_tanh, direction, input, state, ih, hh, bias, hidden, state, input, state, ih, hh, bias,
                hidden, state, flags, 0, 0, forward.description, nullptr);
        auto create =
            name == "gru" ? dnnl_lbr_gru_backward_primitive_desc_create : dnnl_gru_backward_primitive_desc_create;
        return create(&backward.description, engine.get(), kind, direction, input, state, ih, hh, bias, hidden, state,
            input, state, ih, hh, bias, hidden, state, flags, forward.description, nullptr);
    }

    void pack() {
        packed_ih = reordered(weight_ih, forward.asked(DNNL_ARG_WEIGHTS_LAYER));
        packed_hh = reordered(weight_hh, forward.asked(DNNL_ARG_WEIGHTS_ITER));
    }

    void run() {
        if (mode == "pack") return pack();
        last = next;
        forward.primitive.execute(stream, forward_arguments[next]);
        next = (next + 1) % forward_arguments.size();
        if (backward.description) backward.primitive.execute(stream, backward_arguments);
        stream.wait();
    }

    void answer(std::vector<float> &values) {
        if (mode == "pack") return;
        append(values, forward_arguments[last][DNNL_ARG_DST_LAYER]);
        if (!backward.description) return;
        append(values, backward_arguments[DNNL_ARG_DIFF_SRC_LAYER]);
        auto append_gates = [&](const memory &from, memory::dim size) {
            size_t old = values.size();
            append(values, from);
            in_order(values.begin() + old, size);
        };
        append_gates(reordered(backward_arguments[DNNL_ARG_DIFF_WEIGHTS_LAYER], weight_ih_plain), h * x);
        append_gates(reordered(backward_arguments[DNNL_ARG_DIFF_WEIGHTS_ITER], weight_hh_plain), h * h);
        append_gates(backward_arguments[DNNL_ARG_DIFF_BIAS], h);
    }
};

// Times single calls until the turn is over, after a tenth of it to get warm.
static std::string time(Layer &layer, double turn) {
    using Clock = std::chrono::steady_clock;
    auto elapsed = [](Clock::time_point start) {
        return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
    };
    auto start = Clock::now();
    do layer.run();
    while (elapsed(start) < turn / 10);
    std::vector<long> nanoseconds;
    start = Clock::now();
    while (nanoseconds.empty() || elapsed(start) < turn) {
        auto start = Clock::now();
        layer.run();
        nanoseconds.push_back(std::chrono::nanoseconds(Clock::now() - start).count());
    }
    std::sort(nanoseconds.begin(), nanoseconds.end());
    size_t calls = nanoseconds.size();
    std::ostringstream line;
    line << "{\"calls\": " << calls << ", \"min_ns\": " << nanoseconds[0] << ", \"median_ns\": "
         << nanoseconds[calls / 2] << ", \"p99_ns\": " << nanoseconds[calls * 99 / 100] << "}";
    return line.str();
}

// Obeys the driver until it closes the pipe. Commands are words, answers are lines of JSON.
int main() try {
    engine = dnnl::engine(dnnl::engine::kind::cpu, 0);
    stream = dnnl::stream(engine);
    const dnnl_version_t *version = dnnl_version();
    std::cout << "{\"version\": \"" << version->major << "." << version->minor << "." << version->patch << "\"}"
              << std::endl;
    std::unique_ptr<Layer> layer;
    for (std::string line, word; std::getline(std::cin, line);) {
        std::istringstream words(line);
        words >> word;
        std::string answer = "{}";
        if (word == "load") {
            layer.reset();
            layer = std::make_unique<Layer>(words);
        } else if (word == "write") {
            words >> word;
            std::vector<float> values;
            // A stream's answer is that of all its steps.
            for (size_t run = 0; run < layer->forward_arguments.size(); run++) {
                layer->run();
                layer->answer(values);
            }
            auto bytes = reinterpret_cast<char *>(values.data());
            std::ofstream(word, std::ios::binary).write(bytes, values.size() * sizeof(float));
        } else {
            double turn = 0;
            words >> turn;
            answer = time(*layer, turn);
        }
        std::cout << answer << std::endl;
    }
} catch (const std::exception &error) {
    std::cerr << error.what() << std::endl;
    return 1;
}
