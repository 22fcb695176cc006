"""Remedies: what `lamplighter-edge doctor` says of each thing that it looks at, and, behind a bar, what to do about
it."""

from __future__ import annotations

from typing import Final

from edge.verbs.asking import Words

WORDS: Final[Words] = {
    "en": {
        "node": "node",
        "card": "card",
        "clock": "clock",
        "line": "line {}",
        "name": "name",
        "cloud": "cloud",
        "certificate": "certificate",
        "token": "token",
        "runs": "{}",
        "not running": "it does not answer|systemctl status lamplighter-edge; its log: journalctl -u "
        "lamplighter-edge -n 50",
        "card ok": "{} free; 64 KiB kept in {:.2f} s",
        "card slow": "64 KiB took {:.1f} s to keep|replace the card soon",
        "card low": "only {} are free|find what fills it: du -xh / | sort -h | tail",
        "card not": "{}: {}|is the card mounted read-only (mount, dmesg)? Is the folder the node's user's?",
        "card no right": "{} may be written by the node's user only|sudo lamplighter-edge doctor looks at it too",
        "synced": "synchronised",
        "unsynced": "not synchronised: times are estimates|timedatectl; is there a time server that can be "
        "reached, or a real-time clock with a good battery?",
        "past": "it shows {}, which is before this software|set it: sudo timedatectl set-time, or wait for "
        "a time server",
        "line ok": "{} answers",
        "line node": "the running node has it open",
        "line down": "{}|see lamplighter-edge status",
        "no port": "{} is not there|is the adapter plugged in? ls -l /dev/serial/by-id",
        "no right": "{} may not be opened by you ({})|the node's user must be in the group dialout; to look "
        "yourself: sudo",
        "refused": "{}: {}|its supply, its network cable, its address; a gateway that takes one connection is "
        "busy while the node runs",
        "radio ok": "{}",
        "no radio": "no Bluetooth adapter{}|is it plugged in? bluetoothctl list; rfkill unblock bluetooth",
        "name ok": "{} is {}",
        "no name": "{} is not known: {}|is there a network (ip addr)? resolvectl status",
        "reached": "{} takes connections",
        "unreached": "{}: {}|modem, antenna, SIM card, network cable; a firewall?",
        "valid": "good for {} more days",
        "soon": "ends in {} days|have it renewed",
        "invalid": "{}|its clock or ours is wrong, it has ended, or cloud.ca_file is not its authority",
        "plain": "plain http: anybody on the way can read it|use https",
        "taken": "the city takes it, and answered in {:.2f} s",
        "not taken": "{}|is it this node's token, and not revoked? lamplighter-cloud token list",
        "no token": "{}|sudo lamplighter-edge doctor reads it too",
        "late": "no word within {:.0f} s|",
        "do": "→ {}",
        "all well": "nothing is wrong",
        "wrong": "{} to be looked at",
    },
    "fr": {
        "node": "nœud",
        "card": "carte",
        "clock": "horloge",
        "line": "ligne {}",
        "name": "nom",
        "cloud": "ville",
        "certificate": "certificat",
        "token": "jeton",
        "runs": "{}",
        "not running": "il ne répond pas|systemctl status lamplighter-edge ; son journal : journalctl -u "
        "lamplighter-edge -n 50",
        "card ok": "{} libres ; 64 Kio gardés en {:.2f} s",
        "card slow": "64 Kio gardés en {:.1f} s|changez la carte bientôt",
        "card low": "{} libres seulement|cherchez ce qui la remplit : du -xh / | sort -h | tail",
        "card not": "{} : {}|la carte est-elle montée en lecture seule (mount, dmesg) ? Le dossier est-il au nœud ?",
        "card no right": "seul l'utilisateur du nœud peut écrire dans {}|sudo lamplighter-edge doctor la regarde aussi",
        "synced": "synchronisée",
        "unsynced": "pas synchronisée : les heures sont estimées|timedatectl ; un serveur de temps est-il "
        "joignable, ou une horloge à pile en bon état ?",
        "past": "elle indique {}, avant ce logiciel|réglez-la : sudo timedatectl set-time, ou attendez un "
        "serveur de temps",
        "line ok": "{} répond",
        "line node": "le nœud en service la tient ouverte",
        "line down": "{}|voyez lamplighter-edge status",
        "no port": "{} n'est pas là|l'adaptateur est-il branché ? ls -l /dev/serial/by-id",
        "no right": "vous ne pouvez pas ouvrir {} ({})|l'utilisateur du nœud doit être du groupe dialout ; vous : sudo",
        "refused": "{} : {}|son alimentation, son câble, son adresse ; une passerelle à une seule connexion "
        "est prise tant que le nœud tourne",
        "radio ok": "{}",
        "no radio": "pas d'adaptateur Bluetooth{}|est-il branché ? bluetoothctl list ; rfkill unblock bluetooth",
        "name ok": "{} est {}",
        "no name": "{} est inconnu : {}|y a-t-il un réseau (ip addr) ? resolvectl status",
        "reached": "{} accepte les connexions",
        "unreached": "{} : {}|modem, antenne, carte SIM, câble ; un pare-feu ?",
        "valid": "valable encore {} jours",
        "soon": "expire dans {} jours|faites-le renouveler",
        "invalid": "{}|une horloge est fausse, il a expiré, ou cloud.ca_file n'est pas son autorité",
        "plain": "http sans chiffrement : tout le monde peut lire en chemin|utilisez https",
        "taken": "la ville l'accepte, réponse en {:.2f} s",
        "not taken": "{}|est-ce le jeton de ce nœud, non révoqué ? lamplighter-cloud token list",
        "no token": "{}|sudo lamplighter-edge doctor le lit aussi",
        "late": "rien en {:.0f} s|",
        "do": "→ {}",
        "all well": "tout va bien",
        "wrong": "{} à voir",
    },
}
