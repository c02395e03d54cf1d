/* test_prepare.c - requests to ids, positions and features against the goldens; requests that must be refused */
#include "tests/coordinator/target.h"
#include "tests/model/pan_and_scan.h"
#include "tests/model/pictures.h"

#include <pthread.h>

/* Features of f32 against f32; an independent f64 computation differs by up to 3e-5, mistakes by more. */
#define FEATURES_TOLERANCE 1e-4

static int setup(void **state)
{
    struct target *t = mem_new(1, sizeof *t);
    target_open(t, "tests/golden/qwen25vl-tiny", "tests/golden/massv-tiny", 0);
    *state = t;
    return 0;
}

static int teardown(void **state)
{
    target_close(*state);
    free(*state);
    return 0;
}

/* ---- goldens ---- */

static void check_prompt(const struct prompt *prompt, struct safetensors *st)
{
    const struct tensor *t;
    int64_t *ids = case_tensor(st, "input_ids", -1, &t);
    int n = (int)(t->bytes / sizeof *ids);
    int64_t *positions = case_tensor(st, "position_ids", -1, &t);
    assert_int_equal(prompt->n, n);
    for (int i = 0; i < n; i++) {
        assert_int_equal(prompt->ids[i], ids[i]);
        for (int axis = 0; axis < 3; axis++)
            assert_int_equal(prompt->positions[i][axis], positions[(t->dims > 1 ? axis * n : 0) + i]);
    }
    free(ids);
    free(positions);
}

static void check_features(const float *features, struct safetensors *st, int i, int rows)
{
    const struct tensor *t;
    float *wanted = case_tensor(st, "image_features", i, &t);
    assert_int_equal(t->shape[0], rows);
    assert_true(case_difference(features, wanted, t->bytes / sizeof *wanted) <= FEATURES_TOLERANCE);
    free(wanted);
}

/* drafter: the goldens are those of the drafter's own model. */
static void check_case(struct target *target, const char *folder, const json_t *test, const struct generate_request *request,
                       bool drafter)
{
    struct error err;
    struct prepared prepared;
    struct safetensors *st = case_open(folder, test);
    must(prepare_request(target->preparer, request, &prepared, &err), &err);
    check_prompt(&prepared.prompt, st);
    int rows = 0;
    for (int i = 0; i < prepared.n_pictures; i++) {
        const struct prepared_picture *p = &prepared.pictures[i];
        assert_int_equal(p->rows, prepared.prompt.pictures[i].count);
        check_features(drafter ? p->drafter : p->target, st, i, p->rows);
        rows += p->rows;
    }
    assert_int_equal(prepared.n_pictures, json_array_size(json_object_get(test, "images")));
    assert_int_equal(prepared.image_tokens, rows);
    assert_int_equal(prepared.prompt.next_position, prepared.prompt.n + json_integer_value(json_object_get(test, "rope_delta")));
    assert_true(prepared.image_ms >= 0);
    prepared_free(&prepared);
    safetensors_close(st);
}

static void rendered_prompts_give_the_goldens(void **state)
{
    json_t *cases = cases_read("qwen25vl-tiny"), *test;
    size_t i;
    json_array_foreach(cases, i, test)
    {
        struct generate_request request = request_of_case(test);
        check_case(*state, "qwen25vl-tiny", test, &request, false);
        request_free(&request);
    }
    json_decref(cases);
}

static void token_ids_with_one_placeholder_a_picture_give_the_goldens(void **state)
{
    struct target *t = *state;
    json_t *cases = cases_read("qwen25vl-tiny"), *test;
    size_t i;
    json_array_foreach(cases, i, test)
    {
        struct generate_request request = request_of_case(test);
        request.n_ids = tokenizer_encode(t->tokenizer, request.prompt, strlen(request.prompt), true, &request.ids, NULL);
        assert_true(request.n_ids > 0);
        free(request.prompt);
        request.prompt = NULL;
        check_case(t, "qwen25vl-tiny", test, &request, false);
        request_free(&request);
    }
    json_decref(cases);
}

/* Pictures come before the text of their turn. */
static struct generate_request request_of_turns(const json_t *test)
{
    struct generate_request request = {0};
    const json_t *turns = json_object_get(test, "turns");
    request.n_turns = (int)json_array_size(turns);
    request.turns = mem_new((size_t)request.n_turns, sizeof *request.turns);
    for (int t = 0; t < request.n_turns; t++) {
        const json_t *turn = json_array_get(turns, (size_t)t);
        int pictures = (int)json_array_size(json_object_get(turn, "images"));
        struct generate_turn *out = &request.turns[t];
        out->role = mem_string(json_string_value(json_object_get(turn, "role")));
        out->n_parts = pictures + 1;
        out->parts = mem_new((size_t)out->n_parts, sizeof *out->parts);
        out->parts[pictures].text = mem_string(json_string_value(json_object_get(turn, "text")));
    }
    request_add_case_pictures(&request, test);
    return request;
}

static void conversations_give_the_goldens(void **state)
{
    json_t *cases = cases_read("qwen25vl-tiny"), *test;
    size_t i;
    json_array_foreach(cases, i, test)
    {
        struct generate_request request = request_of_turns(test);
        check_case(*state, "qwen25vl-tiny", test, &request, false);
        request_free(&request);
    }
    json_decref(cases);
}

/* One run of the tower serves both: the drafter's own merger on the target's states. */
static void the_drafter_gets_its_own_features(void **state)
{
    json_t *cases = cases_read("massv-tiny"), *test;
    size_t i;
    json_array_foreach(cases, i, test)
    {
        struct generate_request request = request_of_case(test);
        check_case(*state, "massv-tiny", test, &request, true);
        request_free(&request);
    }
    json_decref(cases);
}

/* ---- recent pictures ---- */

static struct prepared prepared_of(struct target *t, const char *prompt, const char *const *pictures, int n)
{
    struct error err;
    struct prepared prepared;
    struct generate_request request = {.prompt = mem_string(prompt)};
    for (int i = 0; i < n; i++)
        request_add_picture(&request, pictures[i]);
    must(prepare_request(t->preparer, &request, &prepared, &err), &err);
    request_free(&request);
    return prepared;
}

static const char *const scene[] = {"tests/golden/images/scene.png", "tests/golden/images/scene.png"};
static const char *const wide[] = {"tests/golden/images/wide.png"};

static void the_same_picture_is_computed_once(void **state)
{
    struct prepared twice = prepared_of(*state, "<|image_pad|> and <|image_pad|>", scene, 2);
    struct prepared again = prepared_of(*state, "<|image_pad|>", scene, 1);
    struct prepared other = prepared_of(*state, "<|image_pad|>", wide, 1);
    assert_ptr_equal(twice.pictures[0].target, twice.pictures[1].target);
    assert_ptr_equal(twice.pictures[0].target, again.pictures[0].target);
    assert_ptr_equal(twice.pictures[0].drafter, again.pictures[0].drafter);
    assert_memory_equal(twice.pictures[0].hash, again.pictures[0].hash, 16);
    assert_ptr_not_equal(other.pictures[0].target, again.pictures[0].target);
    assert_memory_not_equal(other.pictures[0].hash, again.pictures[0].hash, 16);
    prepared_free(&twice);
    prepared_free(&again);
    prepared_free(&other);
}

static void pictures_beyond_the_bound_are_forgotten_and_computed_again(void **state)
{
    (void)state;
    struct target t;
    target_open(&t, "tests/golden/qwen25vl-tiny", NULL, 128 * sizeof(float) * 40); /* one of 30 rows, not two */
    struct prepared first = prepared_of(&t, "<|image_pad|>", scene, 1);
    struct prepared second = prepared_of(&t, "<|image_pad|>", wide, 1);
    struct prepared third = prepared_of(&t, "<|image_pad|>", scene, 1);
    assert_true(first.pictures[0].rows + second.pictures[0].rows > 40);
    assert_ptr_not_equal(first.pictures[0].target, third.pictures[0].target);
    assert_memory_equal(first.pictures[0].target, third.pictures[0].target, (size_t)first.pictures[0].rows * 128 * sizeof(float));
    assert_null(first.pictures[0].drafter);
    prepared_free(&second);
    prepared_free(&first);
    target_close(&t);
    prepared_free(&third); /* outlives the preparer */
}

static void *free_in_a_thread(void *prepared)
{
    prepared_free(prepared);
    return NULL;
}

static void what_was_prepared_is_freed_by_any_thread(void **state)
{
    struct prepared prepared[8];
    pthread_t threads[8];
    for (int i = 0; i < 8; i++)
        prepared[i] = prepared_of(*state, "<|image_pad|>", scene, 1);
    for (int i = 0; i < 8; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, free_in_a_thread, &prepared[i]), 0);
    for (int i = 0; i < 8; i++)
        pthread_join(threads[i], NULL);
}

/* ---- crops ---- */

/* wide.png, 330 x 30 pixels, in four crops: five pictures to everybody behind this, each with a name of its own, kept as one. */
static void crops_are_pictures_of_their_own(void **state)
{
    (void)state;
    struct target t;
    static const char *const pictures[] = {"tests/golden/images/wide.png", "tests/golden/images/speck.png",
                                           "tests/golden/images/wide.png"};
    target_open(&t, "tests/golden/gemma3-tiny", "tests/golden/gemma3-tiny-bf16", 0);
    pan_and_scan_settings(&t.config);
    struct prepared p = prepared_of(&t, "<start_of_image><start_of_image>Which?<start_of_image>", pictures, 3);
    struct prepared again = prepared_of(&t, "<start_of_image>", pictures, 1);
    assert_int_equal(p.n_pictures, 5 + 1 + 5);
    assert_int_equal(p.prompt.n_pictures, p.n_pictures);
    assert_int_equal(p.image_tokens, 11 * 16);
    size_t count = 16 * (size_t)t.config.d;
    for (int i = 0; i < 5; i++) {
        assert_ptr_equal(p.pictures[i].target, p.pictures[6 + i].target);
        assert_ptr_equal(p.pictures[i].target, again.pictures[i].target);
        assert_ptr_equal(p.pictures[i].drafter, p.pictures[0].drafter + (size_t)i * count);
        assert_true(case_difference(p.pictures[i].drafter, p.pictures[i].target, count) < 0.1); /* the target's own, rounded */
        assert_memory_equal(p.pictures[i].hash, p.pictures[6 + i].hash, 16);
        for (int k = 0; k < i; k++) {
            assert_memory_not_equal(p.pictures[i].hash, p.pictures[k].hash, 16);
            assert_true(case_difference(p.pictures[i].target, p.pictures[k].target, count) > 1e-3);
        }
    }
    prepared_free(&again);
    prepared_free(&p);
    target_close(&t);
}

/* ---- refusals ---- */

struct bad {
    const char *prompt, *role; /* role: one turn with it instead of the prompt */
    const char *pictures[2];
    int32_t ids[2];
    int n_ids, n_pictures;
    const char *says;
};

static const struct bad bad_requests[] = {
    {.prompt = "no placeholder",
     .pictures = {"tests/golden/images/wide.png"},
     .n_pictures = 1,
     .says = "0 picture placeholders, the request 1 picture"},
    {.prompt = "<|image_pad|>", .says = "1 picture placeholder, the request 0 pictures"},
    {.prompt = "<|image_pad|><|image_pad|>",
     .pictures = {"tests/golden/images/wide.png", "tests/golden/massv-tiny/config.json"},
     .n_pictures = 2,
     .says = "media[1]: "},
    {.prompt = "<|image_pad|>", .pictures = {"tests/golden/massv-tiny/model.safetensors"}, .n_pictures = 1, .says = "media[0]: "},
    {.role = "tool", .says = "conversation.turns[0].role: \"tool\" is neither system, user nor assistant"},
    {.ids = {5, 672}, .n_ids = 2, .says = "672"},
    {.ids = {5, -1}, .n_ids = 2, .says = "-1"},
    {.prompt = "", .says = "empty"},
    {.prompt = "\xff\xfe", .says = "UTF-8"},
};

static struct generate_request request_of_bad(const struct bad *bad)
{
    struct generate_request request = {.prompt = bad->prompt ? mem_string(bad->prompt) : NULL, .n_ids = bad->n_ids};
    if (bad->n_ids) {
        request.ids = mem_new(2, sizeof *request.ids);
        memcpy(request.ids, bad->ids, sizeof bad->ids);
    }
    if (bad->role) {
        request.n_turns = 1;
        request.turns = mem_new(1, sizeof *request.turns);
        request.turns[0].role = mem_string(bad->role);
        request.turns[0].n_parts = 1;
        request.turns[0].parts = mem_new(1, sizeof *request.turns[0].parts);
        request.turns[0].parts[0].text = mem_string("hello");
    }
    for (int i = 0; i < bad->n_pictures; i++)
        request_add_picture(&request, bad->pictures[i]);
    return request;
}

static void refused(struct target *t, struct generate_request *request, enum rpc_status status, const char *says)
{
    struct error err;
    struct prepared prepared;
    assert_int_equal(prepare_request(t->preparer, request, &prepared, &err), status);
    if (!strstr(err.text, says))
        fail_msg("says \"%s\", should say \"%s\"", err.text, says);
    request_free(request);
}

static void bad_requests_are_refused_and_the_next_one_is_served(void **state)
{
    for (size_t i = 0; i < sizeof bad_requests / sizeof *bad_requests; i++) {
        struct generate_request request = request_of_bad(&bad_requests[i]);
        refused(*state, &request, RPC_INVALID_ARGUMENT, bad_requests[i].says);
    }
    struct prepared prepared = prepared_of(*state, "<|image_pad|>", wide, 1);
    prepared_free(&prepared);
}

static void a_prompt_that_leaves_no_room_for_an_answer_is_refused(void **state)
{
    struct generate_request request = {.n_ids = 4096};
    request.ids = mem_new(4096, sizeof *request.ids);
    refused(*state, &request, RPC_INVALID_ARGUMENT, "prompt: 4096 tokens, but the context of the model is 4096");
}

static void a_prompt_over_the_service_s_own_limit_is_refused_by_its_name(void **state)
{
    struct target t = *(struct target *)*state;
    struct error err = {0};
    struct prepared prepared;
    const struct preparer_options limited = {
        .kernels = t.kernels, .device = t.device, .config = &t.config, .tokenizer = t.tokenizer, .max_prompt_tokens = 1000};
    must(preparer_open(&t.preparer, t.st, &limited, &err), &err);
    struct generate_request request = {.n_ids = 1000};
    request.ids = mem_new(1001, sizeof *request.ids);
    assert_int_equal(prepare_request(t.preparer, &request, &prepared, &err), RPC_OK);
    prepared_free(&prepared);
    request.n_ids = 1001;
    refused(&t, &request, RPC_RESOURCE_EXHAUSTED, "prompt: 1001 tokens, but this service takes at most 1000 (--max-prompt-tokens)");
    preparer_close(t.preparer);
}

static void more_pictures_than_a_prompt_may_have_are_refused_unseen(void **state)
{
    struct target t = *(struct target *)*state;
    struct error err = {0};
    const struct preparer_options limited = {.kernels = t.kernels,
                                             .device = t.device,
                                             .config = &t.config,
                                             .tokenizer = t.tokenizer,
                                             .max_picture_pixels = 1 << 20,
                                             .max_prompt_tokens = 70};
    must(preparer_open(&t.preparer, t.st, &limited, &err), &err);
    struct generate_request request = {.prompt = mem_string("<|image_pad|>")};
    for (int i = 0; i < 4; i++)
        request_add_picture(&request, scene[0]); /* 30 tokens each */
    refused(&t, &request, RPC_RESOURCE_EXHAUSTED, "media[0..2] alone: prompt: 90 tokens, but this service takes at most 70");
    preparer_close(t.preparer);
}

/* The bound of the tests' target is 2^20 pixels; the PNG's header says 60000 x 60000. */
static void an_enormous_picture_is_refused_before_it_is_decoded(void **state)
{
    struct generate_request request = {.prompt = mem_string("<|image_pad|>")};
    request_add_picture(&request, "tests/golden/images/wide.png");
    png_lie(&(struct file){request.pictures[0].bytes, request.pictures[0].size}, 60000, 60000);
    refused(*state, &request, RPC_RESOURCE_EXHAUSTED, "media[0]: --max-picture-pixels: PNG: the picture has 60000 x 60000 pixels");
}

static void a_text_model_reads_no_pictures(void **state)
{
    (void)state;
    struct target t;
    target_open(&t, "tests/golden/qwen2-tiny", NULL, 0);
    struct generate_request request = {.prompt = mem_string("hello")};
    request_add_picture(&request, "tests/golden/images/wide.png");
    refused(&t, &request, RPC_INVALID_ARGUMENT, "media: qwen2-tiny is a text model and reads no pictures");
    struct prepared prepared = prepared_of(&t, "hello", NULL, 0);
    assert_int_equal(prepared.n_pictures, 0);
    prepared_free(&prepared);
    target_close(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rendered_prompts_give_the_goldens),
        cmocka_unit_test(token_ids_with_one_placeholder_a_picture_give_the_goldens),
        cmocka_unit_test(conversations_give_the_goldens),
        cmocka_unit_test(the_drafter_gets_its_own_features),
        cmocka_unit_test(the_same_picture_is_computed_once),
        cmocka_unit_test(pictures_beyond_the_bound_are_forgotten_and_computed_again),
        cmocka_unit_test(crops_are_pictures_of_their_own),
        cmocka_unit_test(more_pictures_than_a_prompt_may_have_are_refused_unseen),
        cmocka_unit_test(what_was_prepared_is_freed_by_any_thread),
        cmocka_unit_test(bad_requests_are_refused_and_the_next_one_is_served),
        cmocka_unit_test(a_prompt_that_leaves_no_room_for_an_answer_is_refused),
        cmocka_unit_test(a_prompt_over_the_service_s_own_limit_is_refused_by_its_name),
        cmocka_unit_test(an_enormous_picture_is_refused_before_it_is_decoded),
        cmocka_unit_test(a_text_model_reads_no_pictures),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
