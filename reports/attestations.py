"""What only people can say of a system: the keys that the regulatory index knows, and what to write under each.

A plan may use other keys as well. Nothing here is ever filled in: a key without text of its user's own says nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from probes.evidence import Message, message


@dataclass(frozen=True)
class Attestation:
    """One key: its title on the page, and what to write under it."""

    title: Message
    asks: Message


KNOWN: dict[str, Attestation] = {
    "intended_purpose": Attestation(
        message("Intended purpose"), message("What the system is meant to decide or support, for whom, and what it is not for.")
    ),
    "owner": Attestation(message("Owner"), message("Who answers for the system.")),
    "provider": Attestation(
        message("Provider"), message("Who made the model or puts it on the market, with a contact; for a model made by others, what was checked.")
    ),
    "deployment_context": Attestation(
        message("Context of use"), message("Where, by whom and in which process it is used, and what else enters the decision.")
    ),
    "affected_groups": Attestation(
        message("People affected"), message("Who is affected, and which of them are vulnerable.")
    ),
    "foreseeable_misuse": Attestation(
        message("Foreseeable misuse"), message("How it could be used wrongly, and what is done about that.")
    ),
    "oversight": Attestation(
        message("Human oversight"), message("Who oversees it, and how they can overrule and stop it.")
    ),
    "fallbacks": Attestation(message("Fall-backs"), message("What happens when it fails or is unsure.")),
    "instructions_for_use": Attestation(
        message("Instructions for use"), message("Where the instructions lie, and their version.")
    ),
    "notices": Attestation(
        message("Notices to people affected"), message("What people are told about the system, when and how.")
    ),
    "dataset_origin": Attestation(
        message("Origin of the data"), message("Where training and audit data come from, how they were collected, and for what.")
    ),
    "data_preparation": Attestation(
        message("Preparation of the data"), message("How rows were chosen, labelled, cleaned and changed, and by whom.")
    ),
    "data_suitability": Attestation(
        message("Suitability of the data"), message("What the data stand for, and why they suit the purpose and the people concerned.")
    ),
    "legal_basis": Attestation(
        message("Legal basis for personal data"), message("On which basis personal data are processed, in development and in use.")
    ),
    "bias_measures": Attestation(
        message("Measures against bias"), message("What was done to find, prevent and lessen bias.")
    ),
    "privacy_measures": Attestation(
        message("Measures for privacy"), message("What was done to protect the people in the data.")
    ),
    "privacy_unit": Attestation(
        message("Meaning of a privacy unit"), message("What one protected unit is: a person, a household, a document.")
    ),
    "other_releases": Attestation(
        message("Other releases of the same data"), message("What else was published from the same data.")
    ),
    "threat_model": Attestation(
        message("Trust and threat model"), message("Who is trusted with raw data, and against whom the guarantee holds.")
    ),
    "anonymity_claim": Attestation(
        message("Claim of anonymity"), message("Whether the model is claimed to be anonymous, and on what grounds.")
    ),
    "security": Attestation(
        message("Security measures"), message("How model and data are protected, and how that is tested.")
    ),
    "risk_management": Attestation(
        message("Risk management"), message("Which risks were found, what was done, and who accepted what remains.")
    ),
    "impact_assessment": Attestation(
        message("Impact assessment"), message("Where the assessment lies (data protection, fundamental rights), and its date.")
    ),
    "metric_choice": Attestation(
        message("Choice of measures"), message("Why these measures and limits suit the system.")
    ),
    "alternatives": Attestation(
        message("Alternatives considered"), message("Which other procedures were looked at, and why they were not taken.")
    ),
    "validity_evidence": Attestation(
        message("Evidence of job-relatedness"), message("Which study shows that the procedure is job-related.")
    ),
    "development_process": Attestation(
        message("Process of development"), message("Which process development followed, and where it is written down.")
    ),
    "standards": Attestation(message("Standards applied"), message("Which standards were applied, whole or in part.")),
    "declaration_of_conformity": Attestation(
        message("Declaration of conformity"), message("Where the declaration lies, and its date.")
    ),
    "independent_review": Attestation(
        message("Independent review"), message("Who reviewed or audited it, when, and how they are independent.")
    ),
    "sign_off": Attestation(message("Sign-off"), message("Who signed the test report, and when.")),
    "changes": Attestation(message("Changes"), message("What changed since the version before, and what may change.")),
    "monitoring": Attestation(
        message("Monitoring in use"), message("What is watched once it is in use, how often, and who acts on it.")
    ),
    "event_logs": Attestation(message("Event logs"), message("What is logged in use, and for how long.")),
    "use_started": Attestation(message("Start of use"), message("Since when it is in use.")),
    "public_summary": Attestation(message("Published summary"), message("Where the results are published.")),
    "human_subjects": Attestation(
        message("Evaluations with people"), message("Whether people took part in evaluations, and how they were protected.")
    ),
    "environmental_impact": Attestation(
        message("Environmental impact"), message("What training and use cost in energy and emissions, and how that was found.")
    ),
}  # fmt: skip


def says_something(text: str) -> bool:
    """Whether there is a letter or a digit in it; an empty text or a row of dots states nothing."""
    return re.search(r"[^\W_]", text) is not None
