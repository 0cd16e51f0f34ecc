// What the card says, in the languages that it speaks. English is in the code and the key of this table.

import { fill } from '../text.js';

const LANGUAGES = ['de', 'fr', 'es', 'nl', 'it'];

/** Each sentence in those languages, in their order. */
export const WORDS = {
  // The button to talk.
  'Hold to talk': ['Zum Sprechen halten', 'Maintenir pour parler', 'Mantener pulsado para hablar', 'Ingedrukt houden om te praten', 'Tieni premuto per parlare'],
  'Opening the speaker …': ['Lautsprecher wird geöffnet …', 'Ouverture du haut-parleur …', 'Abriendo el altavoz …', 'Luidspreker wordt geopend …', 'Apertura dell’altoparlante …'],
  'You are talking': ['Du sprichst', 'Vous parlez', 'Estás hablando', 'Je praat nu', 'Stai parlando'],
  'Someone else is talking': ['Jemand anders spricht', 'Quelqu’un d’autre parle', 'Otra persona está hablando', 'Iemand anders praat', 'Sta parlando qualcun altro'],
  'The doorbell is speaking': ['Die Klingel spricht', 'La sonnette parle', 'El timbre está hablando', 'De deurbel praat', 'Il campanello sta parlando'],
  'Talk unavailable': ['Sprechen nicht möglich', 'Impossible de parler', 'No se puede hablar', 'Praten niet mogelijk', 'Impossibile parlare'],
  'Your talk was ended. Hold the button again to go on.': ['Dein Gespräch wurde beendet. Halte die Taste erneut, um weiterzusprechen.', 'Votre conversation a été interrompue. Maintenez de nouveau le bouton pour continuer.', 'Tu conversación se ha interrumpido. Vuelve a mantener pulsado el botón para continuar.', 'Je gesprek is beëindigd. Houd de knop opnieuw ingedrukt om verder te praten.', 'La tua conversazione è stata interrotta. Tieni premuto di nuovo il pulsante per continuare.'],
  'Nobody would hear you: the doorbell needs attention first.': ['Niemand würde dich hören: Sieh zuerst nach der Klingel.', 'Personne ne vous entendrait : la sonnette demande d’abord votre attention.', 'Nadie te oiría: el timbre necesita antes tu atención.', 'Niemand zou je horen: de deurbel heeft eerst aandacht nodig.', 'Nessuno ti sentirebbe: prima il campanello richiede la tua attenzione.'],
  'Wait for the picture, then hold to talk.': ['Warte auf das Bild und halte dann die Taste zum Sprechen.', 'Attendez l’image, puis maintenez le bouton pour parler.', 'Espera a que haya imagen y mantén pulsado el botón para hablar.', 'Wacht op het beeld en houd dan de knop ingedrukt om te praten.', 'Attendi l’immagine, poi tieni premuto per parlare.'],
  'Someone else is talking. Wait until they have finished.': ['Jemand anders spricht. Warte, bis das Gespräch zu Ende ist.', 'Quelqu’un d’autre parle. Attendez qu’il ait terminé.', 'Otra persona está hablando. Espera a que termine.', 'Iemand anders praat. Wacht tot die klaar is.', 'Sta parlando qualcun altro. Attendi che abbia finito.'],
  'The doorbell is speaking. Wait until it has finished, or stop it.': ['Die Klingel spricht. Warte, bis sie fertig ist, oder brich sie ab.', 'La sonnette parle. Attendez qu’elle ait terminé, ou arrêtez-la.', 'El timbre está hablando. Espera a que termine o deténlo.', 'De deurbel praat. Wacht tot hij klaar is, of stop hem.', 'Il campanello sta parlando. Attendi che abbia finito o fermalo.'],
  'The microphone is ready. Hold the button while you talk.': ['Das Mikrofon ist bereit. Halte die Taste, während du sprichst.', 'Le microphone est prêt. Maintenez le bouton pendant que vous parlez.', 'El micrófono está listo. Mantén pulsado el botón mientras hablas.', 'De microfoon is klaar voor gebruik. Houd de knop ingedrukt terwijl je praat.', 'Il microfono è pronto. Tieni premuto il pulsante mentre parli.'],
  'Release the button and try again.': ['Lass die Taste los und versuche es erneut.', 'Relâchez le bouton et réessayez.', 'Suelta el botón e inténtalo de nuevo.', 'Laat de knop los en probeer het opnieuw.', 'Rilascia il pulsante e riprova.'],
  '{name} did not open its speaker. {why}': ['{name} hat den Lautsprecher nicht geöffnet. {why}', '{name} n’a pas ouvert son haut-parleur. {why}', '{name} no ha abierto su altavoz. {why}', '{name} heeft de luidspreker niet geopend. {why}', '{name} non ha aperto l’altoparlante. {why}'],
  'The browser does not let this page use the microphone. Allow it beside the address bar, then hold the button again.': ['Der Browser lässt diese Seite das Mikrofon nicht benutzen. Erlaube es neben der Adresszeile und halte die Taste erneut.', 'Le navigateur refuse le microphone à cette page. Autorisez-le à côté de la barre d’adresse, puis maintenez de nouveau le bouton.', 'El navegador no permite que esta página use el micrófono. Permítelo junto a la barra de direcciones y vuelve a mantener pulsado el botón.', 'De browser laat deze pagina de microfoon niet gebruiken. Sta dat toe naast de adresbalk en houd de knop opnieuw ingedrukt.', 'Il browser non permette a questa pagina di usare il microfono. Consentilo accanto alla barra degli indirizzi, poi tieni premuto di nuovo il pulsante.'],
  'No microphone was found. Connect one, then hold the button again.': ['Kein Mikrofon gefunden. Schließe eines an und halte die Taste erneut.', 'Aucun microphone trouvé. Branchez-en un, puis maintenez de nouveau le bouton.', 'No se encontró ningún micrófono. Conecta uno y vuelve a mantener pulsado el botón.', 'Geen microfoon gevonden. Sluit er een aan en houd de knop opnieuw ingedrukt.', 'Nessun microfono trovato. Collegane uno, poi tieni premuto di nuovo il pulsante.'],
  'The microphone is in use by another program. Close it there, then hold the button again.': ['Das Mikrofon wird von einem anderen Programm benutzt. Schließe dieses Programm und halte die Taste erneut.', 'Le microphone est utilisé par un autre programme. Fermez-le, puis maintenez de nouveau le bouton.', 'Otro programa usa el micrófono. Ciérralo y vuelve a mantener pulsado el botón.', 'De microfoon is in gebruik door een ander programma. Sluit dat en houd de knop opnieuw ingedrukt.', 'Il microfono è usato da un altro programma. Chiudilo, poi tieni premuto di nuovo il pulsante.'],
  'To talk, open Home Assistant over https: browsers lend the microphone to secure pages only. Home Assistant Cloud will do, or a reverse proxy with a certificate.': ['Öffne Home Assistant über https, um zu sprechen: Browser geben das Mikrofon nur für sichere Seiten frei. Home Assistant Cloud genügt, oder ein Reverse Proxy mit Zertifikat.', 'Pour parler, ouvrez Home Assistant en https : les navigateurs n’autorisent le microphone que sur les pages sécurisées. Home Assistant Cloud suffit, ou un proxy inverse avec certificat.', 'Para hablar, abre Home Assistant por https: los navegadores solo permiten el micrófono en páginas seguras. Basta Home Assistant Cloud o un proxy inverso con certificado.', 'Open Home Assistant via https om te praten: browsers geven de microfoon alleen vrij voor beveiligde pagina’s. Home Assistant Cloud volstaat, of een reverse proxy met certificaat.', 'Per parlare, apri Home Assistant in https: i browser concedono il microfono solo alle pagine sicure. Basta Home Assistant Cloud, o un reverse proxy con un certificato.'],

  // The picture.
  'Live': ['Live', 'En direct', 'En directo', 'Live', 'Dal vivo'],
  'Offline': ['Offline', 'Hors ligne', 'Sin conexión', 'Offline', 'Non in linea'],
  'Ready': ['Bereit', 'Prête', 'Listo', 'Gereed', 'Pronto'],
  'Connecting': ['Verbindet', 'Connexion', 'Conectando', 'Verbindt', 'Connessione'],
  'Connecting …': ['Verbindet …', 'Connexion …', 'Conectando …', 'Verbindt …', 'Connessione …'],
  'Streaming': ['Überträgt', 'Diffusion', 'Transmitiendo', 'Zendt uit', 'In trasmissione'],
  'Needs attention': ['Eingriff nötig', 'Demande votre attention', 'Necesita atención', 'Heeft aandacht nodig', 'Richiede attenzione'],
  'Unreachable': ['Nicht erreichbar', 'Injoignable', 'Inaccesible', 'Onbereikbaar', 'Irraggiungibile'],
  'Paused': ['Angehalten', 'En pause', 'En pausa', 'Gepauzeerd', 'In pausa'],
  'No picture': ['Kein Bild', 'Pas d’image', 'Sin imagen', 'Geen beeld', 'Nessuna immagine'],
  'This doorbell has no picture': ['Diese Klingel hat kein Bild', 'Cette sonnette n’a pas d’image', 'Este timbre no tiene imagen', 'Deze deurbel heeft geen beeld', 'Questo campanello non ha immagini'],
  'Trying again in {seconds} s.': ['Neuer Versuch in {seconds} s.', 'Nouvel essai dans {seconds} s.', 'Nuevo intento en {seconds} s.', 'Nieuwe poging over {seconds} s.', 'Nuovo tentativo tra {seconds} s.'],
  'The connection broke.': ['Die Verbindung ist abgebrochen.', 'La connexion est rompue.', 'La conexión se ha cortado.', 'De verbinding is verbroken.', 'La connessione si è interrotta.'],
  'The picture has stopped.': ['Das Bild ist stehen geblieben.', 'L’image s’est arrêtée.', 'La imagen se ha detenido.', 'Het beeld staat stil.', 'L’immagine si è fermata.'],
  'No picture has come.': ['Es kam kein Bild an.', 'Aucune image n’est arrivée.', 'No ha llegado ninguna imagen.', 'Er kwam geen beeld.', 'Non è arrivata alcuna immagine.'],
  'Doorstep does not answer.': ['Doorstep antwortet nicht.', 'Doorstep ne répond pas.', 'Doorstep no responde.', 'Doorstep antwoordt niet.', 'Doorstep non risponde.'],
  'Live picture: {name}': ['Live-Bild: {name}', 'Image en direct : {name}', 'Imagen en directo: {name}', 'Livebeeld: {name}', 'Immagine dal vivo: {name}'],
  'Last picture: {name}': ['Letztes Bild: {name}', 'Dernière image : {name}', 'Última imagen: {name}', 'Laatste beeld: {name}', 'Ultima immagine: {name}'],
  'Sound': ['Ton', 'Son', 'Sonido', 'Geluid', 'Audio'],
  'Try now': ['Jetzt versuchen', 'Essayer maintenant', 'Probar ahora', 'Nu proberen', 'Prova ora'],

  // The ring.
  'Somebody is at the door: {name}': ['Es hat geklingelt: {name}', 'Quelqu’un sonne : {name}', 'Llaman a la puerta: {name}', 'Er wordt aangebeld: {name}', 'Qualcuno suona alla porta: {name}'],
  'Answer': ['Antworten', 'Répondre', 'Responder', 'Beantwoorden', 'Rispondi'],
  'Dismiss': ['Ausblenden', 'Masquer', 'Descartar', 'Sluiten', 'Nascondi'],

  // What is said by one tap.
  'Quick replies': ['Schnelle Antworten', 'Réponses rapides', 'Respuestas rápidas', 'Snelle antwoorden', 'Risposte rapide'],
  'It says: {what}': ['Sagt gerade: {what}', 'Dit : {what}', 'Está diciendo: {what}', 'Zegt nu: {what}', 'Sta dicendo: {what}'],
  'It says something': ['Sagt gerade etwas', 'Dit quelque chose', 'Está diciendo algo', 'Zegt nu iets', 'Sta dicendo qualcosa'],
  'Stop': ['Stopp', 'Arrêter', 'Parar', 'Stoppen', 'Ferma'],
  'Nothing was heard. The doorbell may be busy or out of reach.': ['Es war nichts zu hören. Die Klingel ist vielleicht besetzt oder nicht erreichbar.', 'Rien n’a été entendu. La sonnette est peut-être occupée ou injoignable.', 'No se oyó nada. Puede que el timbre esté ocupado o inaccesible.', 'Er was niets te horen. Misschien is de deurbel bezet of onbereikbaar.', 'Non si è sentito nulla. Il campanello potrebbe essere occupato o irraggiungibile.'],

  // The doors.
  'Locked': ['Verriegelt', 'Verrouillée', 'Bloqueada', 'Op slot', 'Chiusa a chiave'],
  'Locking …': ['Wird verriegelt …', 'Verrouillage …', 'Bloqueando …', 'Gaat op slot …', 'Chiusura a chiave …'],
  'Unlocked': ['Entriegelt', 'Déverrouillée', 'Desbloqueada', 'Van slot', 'Aperta'],
  'Unlocking …': ['Wird entriegelt …', 'Déverrouillage …', 'Desbloqueando …', 'Gaat van slot …', 'Sblocco …'],
  'Open': ['Öffnen', 'Ouvrir', 'Abrir', 'Openen', 'Apri'],
  'Standing open': ['Steht offen', 'Ouverte', 'Abierta', 'Staat open', 'È aperta'],
  'Opening …': ['Öffnet …', 'Ouverture …', 'Abriendo …', 'Gaat open …', 'Apertura …'],
  'Opened': ['Geöffnet', 'Ouverte', 'Abierta', 'Geopend', 'Aperta'],
  'Jammed': ['Klemmt', 'Bloquée', 'Atascada', 'Vastgelopen', 'Bloccata'],
  'Takes no commands now': ['Nimmt gerade keine Befehle an', 'N’accepte aucune commande', 'No acepta órdenes ahora', 'Neemt nu geen opdrachten aan', 'Ora non accetta comandi'],
  'Not known whether it is locked': ['Unbekannt, ob verriegelt', 'Verrouillage inconnu', 'No se sabe si está bloqueada', 'Onbekend of het op slot is', 'Non si sa se è chiusa a chiave'],
  'The bolt did not get to its end. Look at the door: it may be neither open nor locked.': ['Der Riegel kam nicht ans Ende. Sieh nach der Tür: Sie ist vielleicht weder offen noch verriegelt.', 'Le pêne n’est pas allé au bout. Allez voir la porte : elle n’est peut-être ni ouverte ni verrouillée.', 'El cerrojo no llegó al final. Mira la puerta: puede no estar ni abierta ni bloqueada.', 'De grendel kwam niet tot het einde. Kijk naar de deur: misschien is die niet open, maar ook niet op slot.', 'Il chiavistello non è arrivato a fine corsa. Controlla la porta: potrebbe non essere né aperta né chiusa a chiave.'],
  'Unlock': ['Entriegeln', 'Déverrouiller', 'Desbloquear', 'Van slot halen', 'Sblocca'],
  'Unlock {name}?': ['{name} entriegeln?', 'Déverrouiller {name} ?', '¿Desbloquear {name}?', '{name} van slot halen?', 'Sbloccare {name}?'],
  'Lock': ['Verriegeln', 'Verrouiller', 'Bloquear', 'Op slot doen', 'Chiudi a chiave'],
  'Door': ['Tür', 'Porte', 'Puerta', 'Deur', 'Porta'],
  'Garage door': ['Garagentor', 'Porte de garage', 'Puerta del garaje', 'Garagedeur', 'Porta del garage'],
  'Door opener': ['Türöffner', 'Gâche électrique', 'Abrepuertas', 'Deuropener', 'Apriporta'],
  'Open door': ['Tür öffnen', 'Ouvrir la porte', 'Abrir la puerta', 'Deur openen', 'Apri la porta'],
  'Open {name}?': ['{name} öffnen?', 'Ouvrir {name} ?', '¿Abrir {name}?', '{name} openen?', 'Aprire {name}?'],
  'Garage closed': ['Garage geschlossen', 'Garage fermé', 'Garaje cerrado', 'Garage dicht', 'Garage chiuso'],
  'Garage closing …': ['Garage schließt …', 'Fermeture du garage …', 'Cerrando el garaje …', 'Garage gaat dicht …', 'Chiusura del garage …'],
  'Garage open': ['Garage offen', 'Garage ouvert', 'Garaje abierto', 'Garage open', 'Garage aperto'],
  'Garage opening …': ['Garage öffnet …', 'Ouverture du garage …', 'Abriendo el garaje …', 'Garage gaat open …', 'Apertura del garage …'],
  'Not known whether the garage is closed': ['Unbekannt, ob die Garage geschlossen ist', 'État du garage inconnu', 'No se sabe si el garaje está cerrado', 'Onbekend of de garage dicht is', 'Non si sa se il garage è chiuso'],
  'Close': ['Schließen', 'Fermer', 'Cerrar', 'Sluiten', 'Chiudi'],
  'Open the garage of {name}?': ['Garage von {name} öffnen?', 'Ouvrir le garage de {name} ?', '¿Abrir el garaje de {name}?', 'Garage van {name} openen?', 'Aprire il garage di {name}?'],
  'Cancel': ['Abbrechen', 'Annuler', 'Cancelar', 'Annuleren', 'Annulla'],
  'Sent.': ['Gesendet.', 'Envoyé.', 'Enviado.', 'Verzonden.', 'Inviato.'],
  'Nothing was done: {why}': ['Es wurde nichts ausgeführt: {why}', 'Rien n’a été fait : {why}', 'No se hizo nada: {why}', 'Er is niets gedaan: {why}', 'Non è stato fatto nulla: {why}'],

  // The ways.
  'Looking for Doorstep …': ['Doorstep wird gesucht …', 'Recherche de Doorstep …', 'Buscando Doorstep …', 'Doorstep wordt gezocht …', 'Ricerca di Doorstep …'],
  'No way to Doorstep': ['Kein Weg zu Doorstep', 'Aucun chemin vers Doorstep', 'No hay forma de llegar a Doorstep', 'Geen weg naar Doorstep', 'Nessuna via verso Doorstep'],
  'Integration': ['Integration', 'Intégration', 'Integración', 'Integratie', 'Integrazione'],
  'App (ingress)': ['App (Ingress)', 'App (ingress)', 'App (ingress)', 'App (ingress)', 'App (ingress)'],
  'Direct': ['Direkt', 'Direct', 'Directo', 'Direct', 'Diretto'],
  'The integration is not set up. Add “Doorstep” in Home Assistant under Settings, Devices & services.': ['Die Integration ist nicht eingerichtet. Füge „Doorstep“ in Home Assistant unter Einstellungen, Geräte & Dienste hinzu.', 'L’intégration n’est pas configurée. Ajoutez « Doorstep » dans Home Assistant sous Paramètres, Appareils et services.', 'La integración no está configurada. Añade «Doorstep» en Home Assistant en Ajustes, Dispositivos y servicios.', 'De integratie is niet ingesteld. Voeg “Doorstep” in Home Assistant toe onder Instellingen, Apparaten & diensten.', 'L’integrazione non è configurata. Aggiungi “Doorstep” in Home Assistant in Impostazioni, Dispositivi e servizi.'],
  'The integration has no Doorstep yet. Add it under Settings, Devices & services.': ['Die Integration kennt noch kein Doorstep. Füge es unter Einstellungen, Geräte & Dienste hinzu.', 'L’intégration n’a pas encore de Doorstep. Ajoutez-le sous Paramètres, Appareils et services.', 'La integración aún no tiene Doorstep. Añádelo en Ajustes, Dispositivos y servicios.', 'De integratie heeft nog geen Doorstep. Voeg het toe onder Instellingen, Apparaten & diensten.', 'L’integrazione non ha ancora un Doorstep. Aggiungilo in Impostazioni, Dispositivi e servizi.'],
  'The app was not found. Install the Doorstep app, or write its slug as `app`.': ['Die App wurde nicht gefunden. Installiere die App Doorstep oder trage ihren Slug als `app` ein.', 'L’app est introuvable. Installez l’app Doorstep ou indiquez son slug dans `app`.', 'No se encontró la app. Instala la app Doorstep o escribe su slug en `app`.', 'De app is niet gevonden. Installeer de app Doorstep of vul de slug in als `app`.', 'L’app non è stata trovata. Installa l’app Doorstep o scrivi il suo slug in `app`.'],
  'This Home Assistant has no apps.': ['Dieses Home Assistant hat keine Apps.', 'Ce Home Assistant n’a pas d’apps.', 'Este Home Assistant no tiene apps.', 'Deze Home Assistant heeft geen apps.', 'Questo Home Assistant non ha app.'],
  'The app `{slug}` could not be asked for: {why}': ['Die App `{slug}` konnte nicht abgefragt werden: {why}', 'L’app `{slug}` n’a pas pu être interrogée : {why}', 'No se pudo consultar la app `{slug}`: {why}', 'De gegevens van de app `{slug}` konden niet worden opgevraagd: {why}', 'Non è stato possibile interrogare l’app `{slug}`: {why}'],
  'The app is not running. Start it under Settings, Apps.': ['Die App läuft nicht. Starte sie unter Einstellungen, Apps.', 'L’app n’est pas démarrée. Démarrez-la sous Paramètres, Apps.', 'La app no está en marcha. Iníciala en Ajustes, Apps.', 'De app draait niet. Start die onder Instellingen, Apps.', 'L’app non è in esecuzione. Avviala in Impostazioni, App.'],
  'No `url` is set.': ['Es ist keine `url` gesetzt.', 'Aucune `url` n’est définie.', 'No hay ninguna `url`.', 'Er is geen `url` ingesteld.', 'Non è impostata alcuna `url`.'],
  'This page came over https, and browsers let it reach {url} over https only. Use another way, or give Doorstep a certificate.': ['Diese Seite wurde über https geladen, und Browser lassen sie {url} nur über https erreichen. Nimm einen anderen Weg oder gib Doorstep ein Zertifikat.', 'Cette page a été chargée en https, et les navigateurs ne la laissent joindre {url} qu’en https. Prenez un autre chemin ou donnez un certificat à Doorstep.', 'Esta página se cargó por https y los navegadores solo le permiten llegar a {url} por https. Usa otra vía o dale un certificado a Doorstep.', 'Deze pagina is via https geladen, en browsers laten die {url} alleen via https bereiken. Kies een andere weg of geef Doorstep een certificaat.', 'Questa pagina è arrivata in https, e i browser le permettono di raggiungere {url} solo in https. Usa un’altra via, o dai un certificato a Doorstep.'],
  '{url} does not answer, or does not let this page in: write {origin} into `http.origins` of its configuration.': ['{url} antwortet nicht oder lässt diese Seite nicht ein: Trage {origin} in `http.origins` der Konfiguration ein.', '{url} ne répond pas ou refuse cette page : ajoutez {origin} à `http.origins` dans sa configuration.', '{url} no responde o no admite esta página: escribe {origin} en `http.origins` de su configuración.', '{url} antwoordt niet of laat deze pagina niet toe: zet {origin} in `http.origins` van de configuratie.', '{url} non risponde, o non ammette questa pagina: scrivi {origin} in `http.origins` della sua configurazione.'],
  'There is no doorbell `{doorbell}`. Choose another one in the card’s settings.': ['Es gibt keine Klingel `{doorbell}`. Wähle in den Einstellungen der Karte eine andere.', 'Il n’y a pas de sonnette `{doorbell}`. Choisissez-en une autre dans les réglages de la carte.', 'No hay ningún timbre `{doorbell}`. Elige otro en los ajustes de la tarjeta.', 'Er is geen deurbel `{doorbell}`. Kies een andere in de instellingen van de kaart.', 'Non esiste il campanello `{doorbell}`. Scegline un altro nelle impostazioni della scheda.'],
  'Token of Doorstep, kept in this browser': ['Token von Doorstep, bleibt in diesem Browser', 'Jeton de Doorstep, gardé dans ce navigateur', 'Token de Doorstep, guardado en este navegador', 'Token van Doorstep, bewaard in deze browser', 'Token di Doorstep, conservato in questo browser'],

  // The settings.
  'Doorbell': ['Klingel', 'Sonnette', 'Timbre', 'Deurbel', 'Campanello'],
  'Another one, by its id': ['Eine andere, nach ihrer Kennung', 'Une autre, par son identifiant', 'Otro, por su identificador', 'Een andere, op id', 'Un altro, con il suo id'],
  'Id of the doorbell': ['Kennung der Klingel', 'Identifiant de la sonnette', 'Identificador del timbre', 'Id van de deurbel', 'Id del campanello'],
  'Name': ['Name', 'Nom', 'Nombre', 'Naam', 'Nome'],
  'Quick replies, one a line': ['Schnelle Antworten, eine je Zeile', 'Réponses rapides, une par ligne', 'Respuestas rápidas, una por línea', 'Snelle antwoorden, één per regel', 'Risposte rapide, una per riga'],
  '`clip`, `Name = clip`, or `Name: what is to be spoken`. Without any, the card offers the clips that there are.': ['`clip`, `Name = clip` oder `Name: was gesprochen wird`. Ohne Eintrag bietet die Karte die vorhandenen Clips an.', '`clip`, `Nom = clip` ou `Nom : ce qui sera dit`. Sans rien, la carte propose les clips existants.', '`clip`, `Nombre = clip` o `Nombre: lo que se dirá`. Sin nada, la tarjeta ofrece los clips que haya.', '`clip`, `Naam = clip` of `Naam: wat wordt gezegd`. Zonder regels biedt de kaart de aanwezige clips aan.', '`clip`, `Nome = clip` oppure `Nome: ciò che va detto`. Senza nulla, la scheda offre i clip che ci sono.'],
  'Way to Doorstep': ['Weg zu Doorstep', 'Chemin vers Doorstep', 'Vía de acceso a Doorstep', 'Weg naar Doorstep', 'Via verso Doorstep'],
  'Automatic': ['Automatisch', 'Automatique', 'Automático', 'Automatisch', 'Automatica'],
  'Slug of the app (ingress)': ['Slug der App (Ingress)', 'Slug de l’app (ingress)', 'Slug de la app (ingress)', 'Slug van de app (ingress)', 'Slug dell’app (ingress)'],
  'Address of Doorstep (direct)': ['Adresse von Doorstep (direkt)', 'Adresse de Doorstep (direct)', 'Dirección de Doorstep (directo)', 'Adres van Doorstep (direct)', 'Indirizzo di Doorstep (diretto)'],
};

/** Puts sentences into this language (`de`, `pt-BR`); what has no translation, as what Doorstep itself says, stays as it is. */
export function speaker(language = 'en') {
  const index = LANGUAGES.indexOf(language.split('-')[0]);
  return (sentence, values) => fill(WORDS[sentence]?.[index] ?? sentence, values);
}
