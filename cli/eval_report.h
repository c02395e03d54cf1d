/* eval_report.h - the sections of the report that are not about one condition (eval_sections.c) */
#ifndef CLI_EVAL_REPORT_H
#define CLI_EVAL_REPORT_H

#include "cli/document.h"
#include "cli/eval_results.h"

/* "5.11 [4.90, 5.30]"; of one prompt without an interval. */
void eval_cell_interval(struct document *document, const struct interval *interval, int prompts);

void eval_cell_versus(struct document *document, const struct eval_figures *figures, const struct eval_versus *versus,
                      const struct interval *interval);

/* As the services call it, or its folder. */
const char *eval_target_name(const struct eval *eval);

void eval_section_summary(struct document *document, const struct eval_results *results);
void eval_section_tvd(struct document *document, const struct eval_results *results);
void eval_section_faults(struct document *document, const struct eval_results *results);
void eval_section_reading(struct document *document, const struct eval_results *results);
void eval_section_origin(struct document *document, const struct eval_results *results);

#endif
