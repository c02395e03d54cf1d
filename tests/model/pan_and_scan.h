/* pan_and_scan.h - the cases of tests/golden/pan_and_scan, whose make.py says what they are */
#ifndef TESTS_MODEL_PAN_AND_SCAN_H
#define TESTS_MODEL_PAN_AND_SCAN_H

#include "tests/model/cases.h"

#include "model/config.h"

#define PAN_AND_SCAN "tests/golden/pan_and_scan/cases.json"

/* "sizes" or "prompts" */
static inline json_t *pan_and_scan_cases(const char *which)
{
    json_t *root = json_load_file(PAN_AND_SCAN, 0, NULL);
    assert_non_null(root);
    json_t *cases = json_incref(json_object_get(root, which));
    json_decref(root);
    assert_true(json_array_size(cases) > 0);
    return cases;
}

/* The settings of the prompts, for the small pictures of tests/golden/images. */
static inline void pan_and_scan_settings(struct model_config *config)
{
    struct error err;
    assert_int_equal(config_pan_and_scan(config, PAN_AND_SCAN_ON, &err), 0);
    config->picture.crop_least = 20;
}

#endif
