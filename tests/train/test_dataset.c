/* test_dataset.c - records as samples: the ids that are trained on are the ids that are served, and the last answer alone is
 * learned */
#include "tests/coordinator/target.h"
#include "tests/model/pan_and_scan.h"

#include <unistd.h>

#include "train/dataset.h"
#include "train/record.h"

static const char conversations[] =
    "[{\"id\": \"0\", \"image\": \"scene.png\", \"conversations\": [{\"from\": \"human\", \"value\": \"<image>\\nHow many "
    "things?\"},"
    "{\"from\": \"gpt\", \"value\": \"Three, \\u00fc <|im_end|>\"}, {\"from\": \"human\", \"value\": \"And which?\"},"
    "{\"from\": \"gpt\", \"value\": \"A pig.\"}, {\"from\": \"human\", \"value\": \" Where is it? \"}]},\n"
    " {\"image\": \"none.png\", \"conversations\": [{\"from\": \"human\", \"value\": \"What?<image>\"}, {\"from\": \"gpt\", "
    "\"value\": \"Me.\"}]},\n"
    " {\"image\": \"a.png\", \"conversations\": []},\n"
    " {\"conversations\": [{\"from\": \"human\", \"value\": \"Which day comes after Monday?\"}, {\"from\": \"gpt\", \"value\": "
    "\"Tuesday.\"}]}]\n";

struct place {
    struct target target;
    struct comm *comm;
    struct features *features;
    char folder[64], data[80];
};

static struct place *place_open(const char *target, bool crops)
{
    struct place *p = mem_new(1, sizeof *p);
    struct error err;
    strcpy(p->folder, "/tmp/massv-dataset-XXXXXX");
    assert_non_null(mkdtemp(p->folder));
    snprintf(p->data, sizeof p->data, "%s/data.json", p->folder);
    target_open(&p->target, target, NULL, 0);
    if (crops)
        pan_and_scan_settings(&p->target.config);
    must(comm_open_one(&p->comm, &err), &err);
    must(features_open(&p->features, p->target.st, &p->target.config, p->target.kernels, p->target.device, p->folder, &err), &err);
    return p;
}

static int setup(void **state)
{
    *state = place_open("tests/golden/qwen25vl-tiny", false);
    return 0;
}

static int teardown(void **state)
{
    struct place *p = *state;
    char command[96];
    features_close(p->features);
    comm_close(p->comm);
    target_close(&p->target);
    snprintf(command, sizeof command, "rm -rf %s", p->folder);
    assert_int_equal(system(command), 0);
    free(p);
    return 0;
}

static int dataset_of(struct place *p, struct dataset **dataset, const char *text, bool skip, struct error *err)
{
    const struct dataset_options options = {
        .path = p->data, .pictures = "tests/golden/images", .max_length = 512, .skip_errors = skip};
    const struct dataset_reader reader = {.target = &p->target.config,
                                          .drafter = &p->target.config,
                                          .tokenizer = p->target.tokenizer,
                                          .features = p->features,
                                          .comm = p->comm,
                                          .vocabulary = p->target.config.vocabulary};
    FILE *f = fopen(p->data, "w");
    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
    return dataset_open(dataset, &options, &reader, err);
}

/* What the service makes of the question. */
static struct prepared prepared_of(struct place *p, const struct question *question)
{
    const struct generate_request like = {.draft_tokens = DRAFT_TOKENS_ABSENT};
    struct generate_request request;
    struct prepared prepared;
    struct rpc_bytes bytes;
    struct error err;
    must(question_pack(question, &like, &bytes, &err), &err);
    must(generate_request_unpack(&request, bytes.data, bytes.size, &err), &err);
    must(prepare_request(p->target.preparer, &request, &prepared, &err), &err);
    generate_request_free(&request);
    free(bytes.data);
    return prepared;
}

/* The sample is that prompt, then the answer with <|im_end|>, which alone is supervised. */
static void sample_is(struct place *p, const struct train_sample *sample, const struct prompt *prompt, const char *answer)
{
    int32_t *ids;
    struct error err;
    int n = tokenizer_encode(p->target.tokenizer, answer, strlen(answer), false, &ids, &err);
    assert_int_equal(sample->n, prompt->n + n + 1);
    for (int i = 0; i < sample->n; i++) {
        int k = i - prompt->n;
        int32_t id = k < 0 ? prompt->ids[i] : k < n ? ids[k] : tokenizer_find(p->target.tokenizer, "<|im_end|>");
        assert_int_equal(sample->ids[i], id);
        assert_int_equal(sample->labels[i], k < 0 ? TRAIN_UNSUPERVISED : id);
        for (int axis = 0; axis < 3; axis++)
            assert_int_equal(sample->positions[i][axis], k < 0 ? prompt->positions[i][axis] : prompt->next_position + k);
    }
    free(ids);
}

static void trained_ids_are_served_ids(void **state)
{
    struct place *p = *state;
    struct dataset *dataset;
    struct records *records;
    struct error err;
    static const int usable[] = {0, 1, 5};
    static const char *const answers[] = {"Three, ü <|im_end|>", "A pig.", "Tuesday."};
    must(dataset_of(p, &dataset, conversations, true, &err), &err);
    must(records_open(&records, p->data, "tests/golden/images", &err), &err);
    assert_int_equal(records_count(records), 6);
    assert_int_equal(dataset_count(dataset), 3);
    for (int i = 0; i < 3; i++) {
        struct record record;
        struct example example;
        must(records_read(records, usable[i], &record, &err), &err);
        must(dataset_example(dataset, i, &example, &err), &err);
        struct prepared prepared = prepared_of(p, &record.question);
        sample_is(p, &example.sample, &prepared.prompt, answers[i]);
        assert_int_equal(example.sample.n_pictures, i < 2);
        if (i < 2)
            assert_true(example.pictures[0].first == prepared.prompt.pictures[0].first &&
                        example.pictures[0].rows == prepared.image_tokens);
        prepared_free(&prepared);
        example_free(&example);
        record_free(&record);
    }
    records_close(records);
    dataset_close(dataset);
}

/* Pan-and-scan: wide.png is five pictures, of which the first is the whole, as without crops. A cache of one sort is not the
 * other's. */
static void crops_are_trained_on_as_they_are_served(void **state)
{
    static const char line[] = "{\"image\": \"wide.png\", \"prompt\": \"What is this?\", \"reference\": \"A line.\"}\n";
    struct place *places[] = {place_open("tests/golden/gemma3-tiny", false), place_open("tests/golden/gemma3-tiny", true)};
    struct example examples[2];
    struct error err;
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct place *p = places[i];
        struct dataset *dataset;
        struct records *records;
        struct record record;
        must(dataset_of(p, &dataset, line, false, &err), &err);
        must(records_open(&records, p->data, "tests/golden/images", &err), &err);
        must(records_read(records, 0, &record, &err), &err);
        must(dataset_example(dataset, 0, &examples[i], &err), &err);
        struct prepared prepared = prepared_of(p, &record.question);
        const struct train_sample *sample = &examples[i].sample;
        assert_int_equal(sample->n_pictures, i ? 5 : 1);
        assert_int_equal(prepared.n_pictures, sample->n_pictures);
        assert_memory_equal(sample->ids, prepared.prompt.ids, (size_t)prepared.prompt.n * sizeof *sample->ids);
        for (int k = 0; k < sample->n_pictures; k++)
            assert_true(sample->pictures[k].first == prepared.prompt.pictures[k].first && sample->pictures[k].rows == 16);
        prepared_free(&prepared);
        record_free(&record);
        records_close(records);
        dataset_close(dataset);
    }
    size_t count = 16 * (size_t)features_width(places[1]->features);
    assert_memory_equal(examples[0].rows.numbers, examples[1].rows.numbers, count * sizeof(float));
    for (int k = 1; k < 5; k++) {
        const float *crop = examples[1].pictures[k].features;
        assert_ptr_equal(crop, examples[1].rows.numbers + (size_t)k * count);
        assert_true(case_difference(crop, crop - count, count) > 1e-3);
    }
    for (int i = 0; i < 2; i++) {
        example_free(&examples[i]);
        void *place = places[i];
        teardown(&place);
    }
}

static void what_cannot_be_used_ends_it_or_is_counted(void **state)
{
    struct place *p = *state;
    struct dataset *dataset;
    struct error err;
    must(dataset_of(p, &dataset, conversations, true, &err), &err);
    assert_int_equal(dataset_skipped(dataset), 3);
    assert_non_null(strstr(dataset_first_fault(dataset), "/data.json: entry 1 (line 1), question 3: has no reference"));
    dataset_close(dataset);
    assert_int_equal(dataset_of(p, &dataset, conversations, false, &err), -1);
    assert_non_null(strstr(err.text, "/data.json: entry 1 (line 1), question 3: has no reference"));
    assert_int_equal(dataset_of(p, &dataset, strstr(conversations, ",\n") + 1, true, &err), -1); /* begins with {, ends with ] */
    char *broken = mem_format("%.*s", (int)strlen(conversations) - 8, conversations);
    assert_int_equal(dataset_of(p, &dataset, broken, true, &err), -1); /* never skipped */
    assert_non_null(strstr(err.text, "/data.json: line 4: not JSON: "));
    free(broken);
    assert_int_equal(dataset_of(p, &dataset, "[{\"conversations\": []}]", true, &err), -1);
    assert_non_null(strstr(err.text, "no record can be used; the first: "));
}

/* A question with other turns before is another question. */
static void the_held_out_key_has_the_turns_before(void **state)
{
    struct place *p = *state;
    static const char *const lines[] = {"{\"prompt\": \"b\", \"reference\": \"x\"}\n",
                                        "{\"prompt\": \"b\", \"reference\": \"y\"}\n",
                                        "{\"earlier\": [\"\", \"a\"], \"prompt\": \"b\", \"reference\": \"x\"}\n",
                                        "{\"earlier\": [\"a\", \"\"], \"prompt\": \"b\", \"reference\": \"x\"}\n"};
    for (int i = 0; i < 4; i++)
        for (int k = 0; k < 4; k++) {
            struct dataset *a, *b;
            struct error err;
            must(dataset_of(p, &a, lines[i], false, &err), &err);
            must(dataset_of(p, &b, lines[k], false, &err), &err);
            bool same = i == k || (i < 2 && k < 2);
            assert_int_equal(dataset_overlap(a, b, &err), same);
            if (same)
                assert_non_null(strstr(err.text, "/data.json: line 1: the same picture and prompt are in "));
            dataset_close(a);
            dataset_close(b);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(trained_ids_are_served_ids),
        cmocka_unit_test(crops_are_trained_on_as_they_are_served),
        cmocka_unit_test(what_cannot_be_used_ends_it_or_is_counted),
        cmocka_unit_test(the_held_out_key_has_the_turns_before),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
