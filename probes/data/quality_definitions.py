"""What `data.quality` measures, in words."""

from __future__ import annotations

from probes.evidence import MeasureDefinition, message

NORTHCUTT = "Northcutt, Jiang and Chuang 2021 (confident learning)"
BRODER = "Broder 1997 (resemblance)"

DEFINES = (
    MeasureDefinition(
        name="missing_share",
        formula=message("rows without a value in this role / rows; an input of white space alone has none"),
        zero=message("every row has a value"),
        one=message("no row has one"),
        better="lower",
    ),
    MeasureDefinition(
        name="class_share",
        formula=message("rows with this label / rows with a label"),
        zero=message("no row has this label"),
        one=message("every row has it"),
    ),
    MeasureDefinition(
        name="label_share_gap",
        formula=message(
            "the largest difference between two groups in the share of a class among their labelled rows, over all classes"
        ),
        zero=message("every class is equally frequent in every group"),
        one=message("a class is all of one group and none of another"),
        better="lower",
        smooth=False,
    ),
    MeasureDefinition(
        name="duplicate_share",
        formula=message("rows whose input is exactly that of another audited row / rows"),
        zero=message("no input occurs twice"),
        one=message("every input occurs twice or more"),
        better="lower",
    ),
    MeasureDefinition(
        name="near_duplicate_share",
        formula=message(
            "rows with another audited row whose set of character shingles is at least `threshold` alike (Jaccard) / rows; "
            "exact copies are among them"
        ),
        zero=message("no two inputs are nearly the same"),
        one=message("every input has a near copy"),
        source=BRODER,
        better="lower",
    ),
    MeasureDefinition(
        name="conflicting_label_share",
        formula=message(
            "labelled rows whose exact input occurs among the audited rows with another label / rows with a label"
        ),
        zero=message("copies agree on their label"),
        one=message("every label is contradicted by a copy"),
        better="lower",
    ),
    MeasureDefinition(
        name="leaked_share",
        formula=message("rows whose input is exactly that of a training row / rows"),
        zero=message("no audited input was trained on"),
        one=message("every audited input was trained on"),
        better="lower",
    ),
    MeasureDefinition(
        name="near_leaked_share",
        formula=message("rows with a training row that is at least `threshold` alike / rows; exact copies are among them"),
        zero=message("no audited input is nearly one that was trained on"),
        one=message("every audited input nearly is"),
        source=BRODER,
        better="lower",
    ),
    MeasureDefinition(
        name="suspect_label_share",
        formula=message(
            "labelled rows that a simple model, fitted on other rows, puts with confidence into another class / rows it looked at"
        ),
        zero=message("the simple model contradicts no label with confidence"),
        one=message("it contradicts every label"),
        source=NORTHCUTT,
        better="lower",
    ),
    MeasureDefinition(
        name="label_noise_share",
        formula=message(
            "for each label, rows that the simple model puts with confidence into another class / rows that it puts with confidence into "
            "any; the mean, weighted by how many rows have the label"
        ),
        zero=message("by its estimate every label is right"),
        one=message("by its estimate every label is wrong"),
        source=NORTHCUTT,
        better="lower",
    ),
    MeasureDefinition(
        name="proxy_auc",
        formula=message(
            "ROC AUC of a simple model's out-of-fold score for a group, against all other groups; of a feature the mean over its "
            "groups"
        ),
        zero=message("the text gives the group away, the wrong way round"),
        one=message("the text gives the group away completely; 0.5 is not at all"),
        source="DeLong et al. 1988",
        better="lower",
    ),
    MeasureDefinition(
        name="personal_data_rows",
        formula=message("rows whose input holds something that looks like personal data of this kind, or of any"),
        zero=message("none was found"),
        high=None,
        better="lower",
        unit="rows",
    ),
)  # fmt: skip

BY_NAME = {d.name: d for d in DEFINES}

LIMITS = (
    message("It looks at the data and asks the model nothing; clean data does not make a good model."),
    message(
        "Copies that were reworded or translated are not found, and character shingles treat short texts strictly: one changed word "
        "makes a short text another text."
    ),
    message(
        "Leakage is looked for in the training data that is at hand; what a base model read in pretraining is not seen."
    ),
    message(
        "A suspect label is one that words alone contradict. Irony, slang and rare topics look like noise, and noise that follows words "
        "is not seen. Where words say little of the label, the estimated noise is too high."
    ),
    message(
        "Proxies are looked for in words and pairs of words with a linear model. A low value does not show that the text says nothing of "
        "the group: a stronger model may read more."
    ),
    message(
        "Personal data is found by its form. Names and street addresses have none, obfuscated ones escape, and some numbers of other "
        "kinds pass the checks by chance: one in ten for cards, one in eleven for Chinese identity numbers, one in 97 for accounts."
    ),
    message("Images and tables are compared for exact copies alone."),
)

METHOD = message(
    "Counts of what is in the audited rows are exact and have no interval. Near copies: candidates by MinHash with locality-sensitive "
    "hashing (datasketch), each verified by its exact Jaccard similarity, tied by single linkage. Simple models: logistic regression on "
    "TF-IDF weights of words and word pairs (scikit-learn), five folds, rows that are near copies or of one cluster in one fold; such "
    "rows count as one unit in intervals too. Shares by model have Wilson intervals, AUC DeLong's, their mean over groups the mean of "
    "their limits, which allows for groups being fully correlated; the gap between groups has simultaneous Newcombe limits below and "
    "intersection-union limits above. Telephone numbers: phonenumbers; cards, accounts and identity numbers by their check digits."
)
