"""What the measures of `privacy.membership` are called and what they mean, and which attacks there are. It counts nothing."""

from __future__ import annotations

from dataclasses import dataclass

from probes.evidence import MeasureDefinition, Message, message

DELONG = "DeLong et al. 1988"
YEOM = "Yeom et al. 2018"
CARLINI = "Carlini et al. 2022 (LiRA)"
ZARIFZADEH = "Zarifzadeh, Liu and Shokri 2024 (RMIA)"


@dataclass(frozen=True, kw_only=True)
class Rate:
    """A share of members found at a false positive rate.

    Attributes:
        measure: name of the measure, after the attack's prefix.
        share: false positive rate.
        least: fewer non-members than this cannot resolve it.
        steady: with fewer than this the threshold moves much from sample to sample.
    """

    measure: str
    share: float
    least: int
    steady: int


@dataclass(frozen=True, kw_only=True)
class Attack:
    """One way to score rows; ``prefix`` begins its measures."""

    prefix: str
    title: Message
    source: str
    against: Message


RATES = (
    Rate(measure="tpr_at_1_percent_fpr", share=0.01, least=100, steady=1_000),
    Rate(measure="tpr_at_0_1_percent_fpr", share=0.001, least=1_000, steady=10_000),
)
AUC, GROUP, GAP = "auc", "group_auc", "largest_auc_gap"

_HELD = message("rows that were kept out at random")
LOSS = Attack(prefix="", title=message("loss"), source=YEOM, against=_HELD)
ADVISORY = Attack(
    prefix="advisory_", title=message("loss, against the audit data"), source=YEOM, against=message("rows of the audit data")
)  # fmt: skip
LIRA = Attack(prefix="lira_", title=message("LiRA, online"), source=CARLINI, against=_HELD)
LIRA_OFFLINE = Attack(prefix="lira_offline_", title=message("LiRA, offline"), source=CARLINI, against=_HELD)
RMIA = Attack(prefix="rmia_", title=message("RMIA, online"), source=ZARIFZADEH, against=_HELD)
RMIA_OFFLINE = Attack(prefix="rmia_offline_", title=message("RMIA, offline"), source=ZARIFZADEH, against=_HELD)
ATTACKS = (LOSS, ADVISORY, LIRA, LIRA_OFFLINE, RMIA, RMIA_OFFLINE)


def _define(attack: Attack) -> tuple[MeasureDefinition, ...]:
    said: dict[str, str | Message] = {"attack": attack.title, "others": attack.against}
    return (
        MeasureDefinition(
            name=attack.prefix + AUC,
            formula=message(
                "probability that the attack ({attack}) ranks a training row above one of the {others}, ties half", **said
            ),
            zero=message("every training row looks less like one than every other row"),
            one=message("training rows and others are told apart without error; 0.5 is chance"),
            source=f"{attack.source}; {DELONG}",
            better="lower",
        ),
        *(
            MeasureDefinition(
                name=attack.prefix + rate.measure,
                formula=message(
                    "share of training rows that the attack ({attack}) finds when it wrongly names at most {share%} of the {others}",
                    share=rate.share, **said,
                ),
                zero=message("none is found"),
                one=message("all are found"),
                source=f"{attack.source}; Clopper and Pearson 1934",
                unit="share",
                better="lower",
            )
            for rate in RATES
        ),
    )  # fmt: skip


DEFINES = (
    *(definition for attack in ATTACKS for definition in _define(attack)),
    MeasureDefinition(
        name=GROUP,
        formula=message("AUC of the loss attack among the rows of one group"),
        zero=message("every training row looks less like one than every other row"),
        one=message("the group's training rows are told from its others without error; 0.5 is chance"),
        source=f"{YEOM}; {DELONG}",
        better="lower",
    ),
    MeasureDefinition(
        name=GAP,
        formula=message("largest difference between two groups' AUC of the loss attack"),
        zero=message("the training rows of all groups are as hard to tell"),
        one=message("those of one group are told without error, those of another never"),
        source=f"{YEOM}; {DELONG}",
        better="lower",
        smooth=False,
    ),
)
