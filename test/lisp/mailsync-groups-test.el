;;; mailsync-groups-test.el --- Every kind of group: back end, event, count and screen  -*- lexical-binding: t; -*-

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; A real Gnus and a real Dovecot.  What happens to a folder comes as the
;; core would tell it; what is compared is Gnus's count and the lines of
;; *Group*, as a user reads them.

;;; Code:

(require 'mailsync-gnus-test-helper)
(require 'gnus-agent)
(require 'gnus-topic)
(require 'nnfolder)
(require 'nnml)
(require 'nnselect)
(require 'nnvirtual)

(defvar gnus-topic-alist)
(defvar gnus-topic-topology)

;;;; What a user sees

(defun mailsync-groups-test--screen ()
  "The text of *Group*, the servers' name left out."
  (with-current-buffer gnus-group-buffer
    (string-replace (concat "+" mailsync-gnus-test--name ":") ":"
                    (buffer-substring-no-properties (point-min) (point-max)))))

(defun mailsync-groups-test--lines ()
  "The lines of *Group*, without what surrounds each."
  (split-string (mailsync-groups-test--screen) "\n" t "[ \t]+"))

(defun mailsync-groups-test--topics (topology &rest alist)
  "Show topics as TOPOLOGY has them, with the groups of ALIST in them."
  ;; Folding changes it.
  (setq gnus-topic-topology (copy-tree topology)
        gnus-topic-alist alist)
  (with-current-buffer gnus-group-buffer
    (gnus-topic-mode 1)
    (gnus-group-list-groups 5)))

(defun mailsync-groups-test--fold (topic)
  "Fold TOPIC, as the user does."
  (with-current-buffer gnus-group-buffer
    (gnus-topic-jump-to-topic topic)
    (gnus-topic-hide-topic)))

(defun mailsync-groups-test--no-topics ()
  "Show no topics any more."
  (with-current-buffer gnus-group-buffer (gnus-topic-mode -1))
  (setq gnus-topic-alist nil
        gnus-topic-topology nil
        gnus-group-change-level-function nil
        gnus-goto-missing-group-function nil))

(defmacro mailsync-groups-test--with-topics (&rest body)
  "Evaluate BODY where the groups a, b and c are in nested topics.
a is in a topic in that of b, which is in that of c."
  `(mailsync-gnus-test--with '(nnmaildir) '("folder000" "folder001" "INBOX")
     (let ((a (mailsync-gnus-test--group 'nnmaildir "folder000"))
           (b (mailsync-gnus-test--group 'nnmaildir "folder001"))
           (c (mailsync-gnus-test--group 'nnmaildir "INBOX")))
       (unwind-protect
           (progn
             (mailsync-groups-test--topics
              '(("Gnus" visible) (("mail" visible) (("lists" visible))))
              (list "lists" a) (list "mail" b) (list "Gnus" c))
             ,@body)
         (mailsync-groups-test--no-topics)))))

(ert-deftest mailsync-groups-test-topics ()
  "The counts of topics follow, those of folded ones and of parents too.
A folded topic stays so."
  (mailsync-groups-test--with-topics
   (cl-flet ((expect (&rest lines)
               (should (equal (mailsync-groups-test--lines) lines)))
             (deliver ()
               (mailsync-gnus-test--deliver "folder000")
               (mailsync-gnus-test--check
                (mailsync-gnus-test--change "folder000" 'new))))
     (expect "[ Gnus -- 8 ]" "2: nnmaildir:INBOX" "[ mail -- 6 ]"
             "4: nnmaildir:folder001" "[ lists -- 2 ]" "2: nnmaildir:folder000")
     (deliver)
     (expect "[ Gnus -- 9 ]" "2: nnmaildir:INBOX" "[ mail -- 7 ]"
             "4: nnmaildir:folder001" "[ lists -- 3 ]" "3: nnmaildir:folder000")
     (mailsync-groups-test--fold "lists")
     (deliver)
     (expect "[ Gnus -- 10 ]" "2: nnmaildir:INBOX" "[ mail -- 8 ]"
             "4: nnmaildir:folder001" "[ lists -- 4 ]...")
     (mailsync-groups-test--fold "mail")
     (deliver)
     (expect "[ Gnus -- 11 ]" "2: nnmaildir:INBOX" "[ mail -- 9 ]...")
     (mailsync-gnus-test--mark-seen (car (mailsync-gnus-test--unseen "folder000")))
     (mailsync-gnus-test--check (mailsync-gnus-test--change "folder000" 'flags))
     (expect "[ Gnus -- 10 ]" "2: nnmaildir:INBOX" "[ mail -- 8 ]...")
     ;; Gnus agrees.
     (with-current-buffer gnus-group-buffer
       (gnus-group-list-groups 5))
     (expect "[ Gnus -- 10 ]" "2: nnmaildir:INBOX" "[ mail -- 8 ]...")
     (should-not (cl-find-if (lambda (line) (string-match-p "topics" line))
                             mailsync-gnus-test--log)))))

(ert-deftest mailsync-groups-test-topics-point ()
  "Point stays on the line of a topic that is written anew, in each window."
  (mailsync-groups-test--with-topics
   (switch-to-buffer gnus-group-buffer)
   (delete-other-windows)
   (let* ((window (selected-window))
          (other (split-window))
          (deliver (lambda ()
                     (mailsync-gnus-test--deliver "folder000")
                     (mailsync-gnus-test--check
                      (mailsync-gnus-test--change "folder000" 'new)))))
     (unwind-protect
         (progn
           (gnus-topic-jump-to-topic "mail")
           (forward-char 5)
           (with-selected-window other
             (gnus-topic-jump-to-topic "lists")
             (forward-char 3))
           (cl-flet ((place (window)
                       (with-selected-window window
                         (list (get-text-property (line-beginning-position)
                                                  'gnus-topic)
                               (current-column)))))
             (let ((before (list (place window) (place other))))
               (should (equal (mapcar #'car before) '("mail" "lists")))
               (funcall deliver)
               (should (equal (list (place window) (place other)) before))
               (should (member "[ lists -- 3 ]" (mailsync-groups-test--lines))))))
       (delete-window other)))))

;;;; The table

;; Each row is an event and what there is then: how many unread messages Gnus has for the group, the
;; line of *Group*, or several, and why something is left alone where the status says so.  A line
;; that is not there is (not LINE).  The servers' name is left out of lines and of reasons.
;;
;; Events: nothing has happened (start), a message was delivered, one was marked as read elsewhere,
;; an unread one was deleted elsewhere, a folder with a message was created, and that was renamed.
;; For the last two the group is that of the new folder.  `mailsync-gnus-subscribe-new' is t.
(defconst mailsync-groups-test--table
  '((nnmaildir
     (start     2 "2: nnmaildir:work")
     (delivered 3 "3: nnmaildir:work")
     (flags     2 "2: nnmaildir:work")
     (expunged  1 "1: nnmaildir:work")
     (created   1 "1: nnmaildir:made")
     (renamed   1 ("1: nnmaildir:moved" "1: nnmaildir:made") "folder deleted"))
    (nnmaildir-links
     (delivered 3 "3: nnmaildir:the work")
     (flags     2 "2: nnmaildir:the work")
     (expunged  1 "1: nnmaildir:the work")
     ;; No link, no group.
     (created   nil (not "1: nnmaildir:made") "no group in Gnus")
     (linked    1 "1: nnmaildir:the made"))
    (nnimap
     (start     2 "2: nnimap:work")
     (delivered 3 "3: nnimap:work")
     (flags     2 "2: nnimap:work")
     (expunged  1 "1: nnimap:work")
     (created   1 "1: nnimap:made")
     (renamed   1 ("1: nnimap:moved" "1: nnimap:made") "folder deleted"))
    ;; As `gnus-select-method': no server in the names.
    (nnimap-primary
     (delivered 3 "3: work")
     (flags     2 "2: work")
     (expunged  1 "1: work")
     (created   1 "1: made")
     (renamed   1 ("1: moved" "1: made") "folder deleted"))
    (nnmaildir-primary
     (delivered 3 "3: work")
     (expunged  2 "2: work")
     (created   1 "1: made"))
    (nnimap-dots
     (delivered 3 "3: nnimap:lists.Später")
     (flags     2 "2: nnimap:lists.Später")
     (expunged  1 "1: nnimap:lists.Später")
     (created   1 "1: nnimap:lists.Neu &co")
     (renamed   1 "1: nnimap:lists.sub.moved" "folder deleted"))
    (nnimap-two-servers
     (delivered 3 ("3: nnimap:work" "2: nnimap+other:work"))
     (flags     2 ("2: nnimap:work" "2: nnimap+other:work"))
     (expunged  1 ("1: nnimap:work" "2: nnimap+other:work"))
     (created   1 ("1: nnimap:made" (not "1: nnimap+other:made"))))
    (nnimap-remote
     (delivered 3 "3: nnimap:work")
     (flags     2 "2: nnimap:work")
     (expunged  1 "1: nnimap:work")
     (created   1 "1: nnimap:made"))
    (nnimap-prefix
     (delivered 3 "3: nnimap:INBOX.lists.work")
     (flags     2 "2: nnimap:INBOX.lists.work")
     (expunged  1 "1: nnimap:INBOX.lists.work")
     (created   1 "1: nnimap:INBOX.made"))
    (nnimap-namespaces
     (delivered 3 "3: nnimap:lists.work")
     (flags     2 "2: nnimap:lists.work")
     (expunged  1 "1: nnimap:lists.work")
     (created   1 "1: nnimap:made"))
    (nnimap-gmail
     (start     2 "2: nnimap:[Gmail]/All Mail")
     (delivered 3 "3: nnimap:[Gmail]/All Mail")
     (flags     2 "2: nnimap:[Gmail]/All Mail")
     (expunged  1 "1: nnimap:[Gmail]/All Mail")
     (created   1 "1: nnimap:[Gmail]/Sent Mail"))
    (nnml
     (delivered 1 "1: nnml:misc"))
    (nnfolder
     (delivered 1 "1: nnfolder:misc"))
    (nnvirtual
     (start     4 "4: nnvirtual:both")
     (delivered 5 ("5: nnvirtual:both" "3: nnmaildir:work"))
     (flags     4 ("4: nnvirtual:both" "2: nnmaildir:work"))
     (expunged  3 ("3: nnvirtual:both" "1: nnmaildir:work")))
    (nnselect
     (start     2 "2: nnselect:found")
     (delivered 2 ("2: nnselect:found" "3: nnmaildir:work")))
    (nnselect-rescan
     (start     2 "2: nnselect:found")
     (delivered 3 ("3: nnselect:found" "3: nnmaildir:work"))
     (flags     2 ("2: nnselect:found" "2: nnmaildir:work")))
    (agent-plugged
     (delivered 3 "3: nnimap:work")
     (flags     2 "2: nnimap:work")
     (expunged  1 "1: nnimap:work"))
    (agent-unplugged
     (delivered 2 "2: nnimap:work" "unplugged")
     (flags     2 "2: nnimap:work" "unplugged")
     (created   nil (not "1: nnimap:made") "no group in Gnus"))
    (nntp
     (delivered 3 "3: nnmaildir:work" "never activated")
     (flags     2 "2: nnmaildir:work" "never activated"))
    (killed
     (delivered nil (not "3: nnmaildir:work") "killed"))
    (zombie
     (delivered nil (not "3: nnmaildir:work") "zombie"))
    ;; Gnus activates these by default.
    (unsubscribed
     (delivered 3 "U     3: nnmaildir:work"))
    (level-too-high
     (delivered 2 "U     2: nnmaildir:work" "level too high"))
    (topic
     (start     2 ("[ Gnus -- 2 ]" "2: nnmaildir:work"))
     (delivered 3 ("[ Gnus -- 3 ]" "3: nnmaildir:work"))
     (flags     2 ("[ Gnus -- 2 ]" "2: nnmaildir:work"))
     (expunged  1 ("[ Gnus -- 1 ]" "1: nnmaildir:work"))
     (created   1 ("[ Gnus -- 2 ]" "1: nnmaildir:made")))
    (topic-folded
     (start     2 ("[ Gnus -- 2 ]..." (not "2: nnmaildir:work")))
     (delivered 3 ("[ Gnus -- 3 ]..." (not "3: nnmaildir:work")))
     (flags     2 ("[ Gnus -- 2 ]..." (not "2: nnmaildir:work")))
     (expunged  1 ("[ Gnus -- 1 ]..." (not "1: nnmaildir:work")))
     (created   1 ("[ Gnus -- 2 ]..." (not "1: nnmaildir:made"))))
    (no-server
     (delivered t "*: nnimap:work" "never activated")
     (looked-at 3 "3: nnimap:work")
     (flags     2 "2: nnimap:work"))
    (restarted
     (delivered 3 "3: nnimap:work")
     (quit      nil nil)
     (delivered nil nil)
     (started   4 "4: nnimap:work")
     (flags     3 "3: nnimap:work")
     (created   1 "1: nnimap:made"))))

;;;; What the rows are about

(defvar mailsync-groups-test--kind nil "The kind of group of this test.")

(defun mailsync-groups-test--is (&rest kinds)
  "Non-nil if this test is about one of KINDS."
  (memq mailsync-groups-test--kind kinds))

(defun mailsync-groups-test--imap-p ()
  "Non-nil if this test needs an IMAP server."
  (or (mailsync-groups-test--is 'agent-plugged 'agent-unplugged 'no-server
                                'restarted)
      (string-prefix-p "nnimap" (symbol-name mailsync-groups-test--kind))))

(defun mailsync-groups-test--primary-p ()
  "Non-nil if the server of this test is `gnus-select-method'."
  (mailsync-groups-test--is 'nnimap-primary 'nnmaildir-primary))

(defun mailsync-groups-test--dotted-p ()
  "Non-nil if the folders are laid out as Maildir++."
  (mailsync-groups-test--is 'nnimap-dots 'nnimap-prefix 'nnimap-namespaces))

(defun mailsync-groups-test--folders ()
  "The folder of this test, one to be created, and what that is renamed to."
  (pcase mailsync-groups-test--kind
    ('nnimap-dots '("lists/Später" "lists/Neu &co" "lists/sub/moved"))
    ((or 'nnimap-prefix 'nnimap-namespaces) '("lists/work" "made" "moved"))
    ('nnimap-gmail '("[Gmail]/All Mail" "[Gmail]/Sent Mail" "[Gmail]/moved"))
    (_ '("work" "made" "moved"))))

(defun mailsync-groups-test--path (folder &optional root)
  "The directory of FOLDER below ROOT (\"mail\")."
  (let ((root (expand-file-name (or root "mail") mailsync-gnus-test--dir))
        (name (utf7-encode folder t)))
    (cond
     ((not (mailsync-groups-test--dotted-p)) (concat root "/" name))
     ((equal folder "INBOX") root)
     (t (concat root "/." (string-replace "/" "." name))))))

(defun mailsync-groups-test--chown (directory)
  "Give DIRECTORY to whom the mail belongs, for Dovecot."
  (when (and (zerop (user-uid)) (mailsync-groups-test--imap-p))
    (call-process "chown" nil nil nil "-R" "mail" directory)))

(defun mailsync-groups-test--make-folder (folder messages &optional root)
  "Make FOLDER with MESSAGES unread messages and a read one, below ROOT."
  (let ((path (mailsync-groups-test--path folder root)))
    (dolist (part '("cur" "new" "tmp"))
      (make-directory (expand-file-name part path) t))
    (dotimes (i (if (zerop messages) 0 (1+ messages)))
      (write-region (format "Subject: %d\nMessage-ID: <%d.%s@x>\n\n" i i
                            (md5 path))
                    nil (format "%s/cur/%d.x:2,%s" path (+ 1000 i)
                                (if (= i messages) "S" ""))
                    nil 'silent))
    (mailsync-groups-test--chown (or (and root (mailsync-groups-test--path
                                                "" root))
                                     path))))

(defun mailsync-groups-test--backend ()
  "The back end that shows the folder of this test."
  (cond ((mailsync-groups-test--imap-p) "nnimap")
        ((mailsync-groups-test--is 'nnml) "nnml")
        ((mailsync-groups-test--is 'nnfolder) "nnfolder")
        (t "nnmaildir")))

(defun mailsync-groups-test--group (folder)
  "The group that shows FOLDER, or into which its mail is split."
  (format "%s%s"
          (if (mailsync-groups-test--primary-p)
              ""
            (format "%s+%s:" (mailsync-groups-test--backend)
                    mailsync-gnus-test--name))
          (pcase mailsync-groups-test--kind
            ('nnimap-prefix (concat "INBOX." (string-replace "/" "." folder)))
            ((or 'nnimap-dots 'nnimap-namespaces)
             (string-replace "/" "." folder))
            ('nnmaildir-links (concat "the " folder))
            ((or 'nnml 'nnfolder) "misc")
            (_ folder))))

(defun mailsync-groups-test--counted ()
  "The group whose count the first rows say."
  (pcase mailsync-groups-test--kind
    ('nnvirtual "nnvirtual:both")
    ((or 'nnselect 'nnselect-rescan) "nnselect:found")
    (_ (mailsync-groups-test--group (car (mailsync-groups-test--folders))))))

;;;; Their servers

(defvar mailsync-groups-test--dovecots nil "The directories of those that run.")

;; Each takes a second to end: all at once, in the end.
(add-hook 'kill-emacs-hook
          (lambda ()
            (let ((processes
                   (mapcar (lambda (directory)
                             (start-process "stop" nil
                                            (mailsync-gnus-test--fixture
                                             "dovecot.sh")
                                            "stop" directory))
                           mailsync-groups-test--dovecots)))
              (while (cl-some #'process-live-p processes)
                (accept-process-output nil 0.05)))))

(defun mailsync-groups-test--imap-method (name root)
  "An nnimap server NAME for the mail below ROOT, which is started."
  (mailsync-gnus-test--need-dovecot)
  (let ((port (mailsync-gnus-test--free-port))
        (directory (expand-file-name (concat "dovecot-" root)
                                     mailsync-gnus-test--dir))
        (process-environment
         (if (mailsync-groups-test--is 'nnimap-prefix 'nnimap-namespaces)
             (cons "NAMESPACE_PREFIX=INBOX." process-environment)
           process-environment)))
    (push directory mailsync-groups-test--dovecots)
    (mailsync-gnus-test--run "dovecot.sh" "start" directory
                             (expand-file-name root mailsync-gnus-test--dir)
                             (if (mailsync-groups-test--dotted-p)
                                 "maildir++" "fs")
                             (number-to-string port))
    (write-region (format "machine 127.0.0.1 port %s login user password any\n"
                          port)
                  nil (car auth-sources) t 'silent)
    `(nnimap ,name (nnimap-address "127.0.0.1") (nnimap-server-port ,port)
             (nnimap-stream network)
             ,@(and (mailsync-groups-test--is 'nnimap-namespaces)
                    '((nnimap-use-namespaces t))))))

(defun mailsync-groups-test--methods ()
  "The servers of this test."
  (let ((name mailsync-gnus-test--name)
        (store (file-name-as-directory
                (expand-file-name "store" mailsync-gnus-test--dir))))
    (pcase (mailsync-groups-test--backend)
      ("nnimap"
       (cons (mailsync-groups-test--imap-method name "mail")
             (and (mailsync-groups-test--is 'nnimap-two-servers)
                  (list (mailsync-groups-test--imap-method "other" "other")))))
      ("nnmaildir"
       `((nnmaildir ,name (directory
                           ,(expand-file-name
                             (if (mailsync-groups-test--is 'nnmaildir-links)
                                 "links" "mail")
                             mailsync-gnus-test--dir))
                    (get-new-mail nil))))
      ("nnml"
       (make-directory store t)
       `((nnml ,name (nnml-directory ,store)
               (nnml-active-file ,(concat store "active"))
               (nnml-newsgroups-file ,(concat store "newsgroups")))))
      ("nnfolder"
       (make-directory store t)
       `((nnfolder ,name (nnfolder-directory ,store)
                   (nnfolder-active-file ,(concat store "active"))
                   (nnfolder-newsgroups-file ,(concat store "newsgroups"))))))))

(defun mailsync-groups-test--link (folder)
  "Have the nnmaildir server of links show FOLDER."
  (let ((links (expand-file-name "links" mailsync-gnus-test--dir)))
    (make-directory links t)
    (make-symbolic-link (mailsync-groups-test--path folder)
                        (format "%s/the %s" links folder))))

(defun mailsync-groups-test--account ()
  "The keys of the account of this test."
  (pcase mailsync-groups-test--kind
    ('nnimap-two-servers (list :gnus-server mailsync-gnus-test--name))
    ('nnimap-remote '(:remote (watcher "x")))
    ('nntp (list :maildir "x" :gnus-groups
                 (list (list "work" (mailsync-groups-test--group "work")
                             "nntp+news:some.group"))))
    (_ '(:maildir "x"))))

;;;; What Gnus is like

(defun mailsync-groups-test--search (_)
  "What an nnselect group finds: all messages of the group."
  (let* ((group (mailsync-groups-test--group "work"))
         (active (gnus-active group)))
    (vconcat (mapcar (lambda (number) (vector group number 100))
                     (number-sequence (car active) (cdr active))))))

(defvar mailsync-groups-test--connections 0
  "How often somebody has connected to the news server.")

(defun mailsync-groups-test--prepare ()
  "Bring about what this test is about, when Gnus has started."
  (let* ((folder (car (mailsync-groups-test--folders)))
         (group (mailsync-groups-test--group folder)))
    (pcase mailsync-groups-test--kind
      ('nnvirtual
       (gnus-group-make-group
        "both" (list 'nnvirtual (format "\\`nnmaildir\\+%s:\\(work\\|INBOX\\)\\'"
                                        mailsync-gnus-test--name)))
       (gnus-activate-group "nnvirtual:both" 'scan)
       (mailsync-gnus-check "nnvirtual:both"))
      ((or 'nnselect 'nnselect-rescan)
       (gnus-group-make-group
        "found" '(nnselect "nnselect") nil
        '((nnselect-specs (nnselect-function . mailsync-groups-test--search)
                          (nnselect-args . all))))
       (when (mailsync-groups-test--is 'nnselect-rescan)
         (gnus-group-set-parameter "nnselect:found" 'nnselect-rescan t))
       (gnus-group-jump-to-group "nnselect:found")
       (gnus-group-get-new-news-this-group))
      ((or 'agent-plugged 'agent-unplugged)
       (push (format "nnimap:%s" mailsync-gnus-test--name)
             gnus-agent-covered-methods)
       (should (gnus-agent-method-p (gnus-find-method-for-group group)))
       (when (mailsync-groups-test--is 'agent-unplugged)
         (with-current-buffer gnus-group-buffer
           (gnus-agent-toggle-plugged nil))))
      ('nntp
       (gnus-subscribe-group
        "nntp+news:some.group" nil
        `(nntp "news" (nntp-address "127.0.0.1")
               (nntp-port-number
                ,(process-contact
                  (make-network-process
                   :name "news" :server t :host "127.0.0.1" :service t
                   :family 'ipv4 :noquery t
                   :log (lambda (&rest _)
                          (cl-incf mailsync-groups-test--connections)))
                  :service)))))
      ('killed (gnus-group-change-level (gnus-group-entry group) 9 3)
               (gnus-group-list-groups 5 t))
      ('zombie (gnus-group-change-level (gnus-group-entry group) 8 3)
               (gnus-group-list-groups 5 t))
      ('unsubscribed
       (gnus-group-jump-to-group group)
       (gnus-group-unsubscribe-current-group))
      ('level-too-high
       (gnus-group-jump-to-group group)
       (gnus-group-set-current-level 1 7))
      ((or 'topic 'topic-folded)
       (mailsync-groups-test--topics '(("Gnus" visible)) (list "Gnus" group))
       (when (mailsync-groups-test--is 'topic-folded)
         (mailsync-groups-test--fold "Gnus")))
      ('no-server
       (gnus-group-exit)
       (gnus-no-server)
       (gnus-group-list-groups 5 t)))))

;;;; What happens

(defun mailsync-groups-test--changes (folder &rest kinds)
  "A list of a change of KINDS in FOLDER."
  (let ((directory (mailsync-groups-test--path
                    (if (mailsync-groups-test--is 'nnml 'nnfolder)
                        "incoming" folder))))
    (list
     (if (mailsync-groups-test--is 'nnimap-remote)
         (list :account "home" :folder folder :directory nil :truename nil
               :kinds '(unknown) :origins '(remote))
       (list :account "home" :folder folder :directory directory
             :truename (and (file-exists-p directory) (file-truename directory))
             :kinds kinds :origins '(local))))))

(defun mailsync-groups-test--unread-file (folder)
  "An unread message of FOLDER."
  (let ((path (mailsync-groups-test--path folder)))
    (cl-find-if (lambda (file) (not (string-match-p ":2,[A-Z]*S\\'" file)))
                (append (directory-files (concat path "/cur") t "\\`[^.]")
                        (directory-files (concat path "/new") t "\\`[^.]")))))

(defun mailsync-groups-test--deliver (folder)
  "Deliver a message into FOLDER, or into what it comes from."
  (mailsync-gnus-test--run
   "deliver.sh" (mailsync-groups-test--path
                 (if (mailsync-groups-test--is 'nnml 'nnfolder)
                     "incoming" folder))))

(defun mailsync-groups-test--happen (event)
  "Have EVENT happen; return the changes that the core would tell of."
  (pcase-let ((`(,folder ,made ,moved) (mailsync-groups-test--folders)))
    (pcase event
      ('start nil)
      ('delivered
       (mailsync-groups-test--deliver folder)
       (mailsync-groups-test--changes folder 'new))
      ('flags
       (mailsync-gnus-test--mark-seen (mailsync-groups-test--unread-file folder))
       (mailsync-groups-test--changes folder 'flags))
      ('expunged
       (delete-file (mailsync-groups-test--unread-file folder))
       (mailsync-groups-test--changes folder 'gone))
      ('created
       (mailsync-groups-test--make-folder made 0)
       (mailsync-groups-test--deliver made)
       (mailsync-groups-test--changes made 'folder-created 'new))
      ('linked
       (mailsync-groups-test--link made)
       (mailsync-groups-test--changes made 'new))
      ('renamed
       (rename-file (mailsync-groups-test--path made)
                    (mailsync-groups-test--path moved))
       (append (mailsync-groups-test--changes made 'folder-deleted)
               (mailsync-groups-test--changes moved 'folder-created)))
      ('looked-at
       (with-current-buffer gnus-group-buffer
         (gnus-group-jump-to-group (mailsync-groups-test--group folder))
         (gnus-group-get-new-news-this-group))
       nil)
      ('quit (with-current-buffer gnus-group-buffer (gnus-group-exit)) nil)
      ('started (gnus)
                (gnus-group-list-groups 5 t)
                (mailsync-gnus-test--wait
                 (zerop (plist-get (mailsync-gnus-status) :pending)))
                nil))))

(defun mailsync-groups-test--left-alone ()
  "Why what is left alone is left alone."
  (mapcar #'cdr (plist-get (mailsync-gnus-status) :left-alone)))

(defun mailsync-groups-test--row (event count lines &optional reason)
  "Have EVENT happen; there must be COUNT, LINES and REASON then."
  (let* ((changes (mailsync-groups-test--happen event))
         (group (pcase event
                  ((or 'created 'linked)
                   (mailsync-groups-test--group
                    (nth 1 (mailsync-groups-test--folders))))
                  ('renamed (mailsync-groups-test--group
                             (nth 2 (mailsync-groups-test--folders))))
                  (_ (mailsync-groups-test--counted)))))
    (when changes
      (apply #'mailsync-gnus-test--check changes)
      (mailsync-gnus-test--wait (null mailsync-gnus--virtual)))
    (when (gnus-alive-p)
      (let ((screen (mailsync-groups-test--lines)))
        (should (equal (list event (and (mailsync-gnus--entry group)
                                        (gnus-group-unread group)))
                       (list event count)))
        (dolist (line (if (and (listp lines) (not (eq (car lines) 'not)))
                          lines
                        (list lines)))
          (pcase line
            (`(not ,line) (should-not (member line (cons event screen))))
            (_ (should (member line (cons event screen))))))
        (should (equal (list event (and reason
                                        (car (member reason
                                                     (mailsync-groups-test--left-alone)))))
                       (list event reason)))))))

(defun mailsync-groups-test--call (kind rows)
  "Do ROWS with a group of KIND."
  (let* ((mailsync-groups-test--kind kind)
         (mailsync-gnus-test--dir (file-truename (make-temp-file "mailsync-groups" t)))
         (mailsync-gnus-test--name (format "kind%d" (cl-incf mailsync-gnus-test--number)))
         (mailsync-gnus-test--log nil)
         (mailsync-gnus-test--accounts nil)
         (mailsync-groups-test--connections 0)
         (mailsync-gnus-subscribe-new t)
         (mailsync-gnus-catch-up-delay 1000)
         (mailsync-gnus--counts nil)
         (mailsync-gnus--last-error nil)
         (gnus-plugged t)
         (nnmail-split-methods '(("misc" "")))
         (inhibit-message t)
         (folder (car (mailsync-groups-test--folders))))
    (setq mailsync-gnus-test--accounts
          `(("home" ,@(mailsync-groups-test--account))))
    (push mailsync-gnus-test--dir mailsync-gnus-test--old-dirs)
    (set-file-modes mailsync-gnus-test--dir #o711)
    (dolist (name (list "INBOX" folder))
      (mailsync-groups-test--make-folder name 2))
    (when (mailsync-groups-test--is 'nnimap-two-servers)
      (dolist (name (list "INBOX" folder))
        (mailsync-groups-test--make-folder name 2 "other")))
    (when (mailsync-groups-test--is 'nnml 'nnfolder)
      (mailsync-groups-test--make-folder "incoming" 0))
    (when (mailsync-groups-test--is 'nnmaildir-links)
      (mailsync-groups-test--link folder))
    (fixture-configure (expand-file-name "home" mailsync-gnus-test--dir))
    (unwind-protect
        (progn
          (let ((methods (mailsync-groups-test--methods)))
            (if (mailsync-groups-test--primary-p)
                (setq gnus-select-method (car methods))
              (setq gnus-secondary-select-methods methods)))
          (when (mailsync-groups-test--is 'nnml 'nnfolder)
            (setq mail-sources
                  `((maildir :path ,(mailsync-groups-test--path "incoming")))))
          (fixture-start)
          (when (mailsync-groups-test--is 'nnml 'nnfolder)
            (gnus-request-create-group "misc" (car gnus-secondary-select-methods)))
          (dolist (group (cons (mailsync-groups-test--group folder)
                               (append
                                (and (mailsync-groups-test--is 'nnvirtual)
                                     (list (mailsync-groups-test--group "INBOX")))
                                (and (mailsync-groups-test--is 'nnimap-two-servers)
                                     '("nnimap+other:work")))))
            (gnus-subscribe-group group nil (gnus-group-method group)))
          (gnus-group-get-new-news)
          (with-current-buffer gnus-group-buffer
            (gnus-group-list-groups 5 t)
            (mailsync-gnus-setup)
            (mailsync-groups-test--prepare))
          (dolist (row rows)
            (apply #'mailsync-groups-test--row row))
          (when (mailsync-groups-test--is 'nntp)
            (mailsync-gnus-check)
            (should (= 0 mailsync-groups-test--connections)))
          (should-not (plist-get (mailsync-gnus-status) :last-error)))
      (mailsync-gnus-teardown)
      (setq mail-sources nil)
      (when (get-process "news") (delete-process "news"))
      (when (get-buffer gnus-group-buffer)
        (with-current-buffer gnus-group-buffer
          (mailsync-groups-test--no-topics)
          (setq gnus-plugged t)
          (gnus-group-exit)))
      (auth-source-forget-all-cached)
      (unless (mailsync-groups-test--imap-p)
        (delete-directory mailsync-gnus-test--dir t)))))

(pcase-dolist (`(,kind . ,rows) mailsync-groups-test--table)
  (ert-set-test
   (intern (format "mailsync-groups-test-kind-%s" kind))
   (make-ert-test
    :name (intern (format "mailsync-groups-test-kind-%s" kind))
    :documentation (format "What happens to a group of the kind %s." kind)
    :body (lambda () (mailsync-groups-test--call kind rows)))))

;;;; New folders

(defmacro mailsync-groups-test--with-new (kind &rest body)
  "Evaluate BODY with a group of KIND, where (make NAME) makes a folder.
It has a message in it then, and is told of; the value is what the check said."
  (declare (indent 1))
  `(cl-letf (((symbol-function 'mailsync-groups-test--row)
              (lambda (&rest _)
                (cl-flet ((make (name)
                            (mailsync-groups-test--make-folder name 0)
                            (mailsync-groups-test--deliver name)
                            (cdr (caar (apply #'mailsync-gnus-test--check
                                              (mailsync-groups-test--changes
                                               name 'folder-created 'new)))))
                          (group (name) (mailsync-groups-test--group name))
                          (why (name)
                            (cdr (assoc name (plist-get (mailsync-gnus-status)
                                                        :left-alone)))))
                  ,@body))))
     (mailsync-groups-test--call ,kind '((start)))))

(ert-deftest mailsync-groups-test-new-wanted ()
  "The option says which folders Gnus is told of; by default none."
  (should-not (default-value 'mailsync-gnus-subscribe-new))
  (mailsync-groups-test--with-new 'nnmaildir
    (pcase-dolist
        (`(,option ,expected)
         `((nil nil)
           (t t)
           (("lists.*" "other") nil)
           (("made*") t)
           (("nnmaildir+*:made-4") t)
           (("MADE*" ,(make-string 3 ?x)) nil)
           (,(lambda (group folder)
               (should (string-suffix-p (concat ":" folder) group))
               t)
            t)
           (,(lambda (&rest _) nil) nil)
           (,(lambda (&rest _) (error "Oh")) nil)
           (27 nil)))
      (let* ((mailsync-gnus-subscribe-new option)
             (name (format "made-%d" (length (directory-files
                                              (mailsync-groups-test--path ""))))))
        (setq name (if (equal option '("nnmaildir+*:made-4")) "made-4" name))
        (should (equal (list option (make name))
                       (list option (if expected 'checked 'no-group))))
        (should (equal (list option (and (mailsync-gnus--entry (group name)) t))
                       (list option expected)))
        (unless expected
          (should (equal (why name) "no group in Gnus")))))
    (should (cl-find-if (lambda (line)
                          (string-match-p "mailsync-gnus-subscribe-new.*Oh" line))
                        mailsync-gnus-test--log))))

(ert-deftest mailsync-groups-test-new-rules ()
  "Gnus's own rules decide, and nothing asks."
  (mailsync-groups-test--with-new 'nnmaildir
    (let ((gnus-auto-subscribed-groups nil)
          (gnus-auto-subscribed-categories nil)
          (gnus-options-subscribe "yes")
          (gnus-options-not-subscribe "not")
          (gnus-subscribe-options-newsgroup-method 'gnus-subscribe-alphabetically)
          (functions nil))
      (should (equal (make "yes") 'checked))
      (should (= 1 (gnus-group-unread (group "yes"))))
      (should (equal (make "not") 'no-group))
      (should (equal (why "not") "Gnus's options say to ignore it"))
      (should-not (mailsync-gnus--entry (group "not")))
      (let ((gnus-subscribe-newsgroup-method 'gnus-subscribe-zombies))
        (should (equal (make "a") 'no-group))
        (should (member (group "a") gnus-zombie-list))
        (should (equal (why "a") "zombie")))
      (let ((gnus-subscribe-newsgroup-method '(ignore gnus-subscribe-killed)))
        (should (equal (make "b") 'no-group))
        (should (member (group "b") gnus-killed-list)))
      (let ((gnus-subscribe-newsgroup-method 'gnus-subscribe-interactively))
        (should (equal (make "c") 'no-group))
        (should (string-match-p "ask" (why "c"))))
      (let ((gnus-subscribe-hierarchical-interactive t))
        (should (equal (make "d") 'no-group))
        (should (string-match-p "ask" (why "d"))))
      ;; A function of the user's that asks all the same is stopped.
      (let ((gnus-subscribe-newsgroup-method
             (lambda (_) (y-or-n-p "Really? "))))
        (should (equal (make "e") 'no-group)))
      (let ((gnus-subscribe-newsgroup-method 'gnus-subscribe-randomly)
            (gnus-subscribe-newsgroup-functions
             (list (lambda (group) (push group functions)))))
        (should (equal (make "f") 'checked))
        (should (equal functions (list (group "f"))))
        (push #'error gnus-subscribe-newsgroup-functions)
        (should (equal (make "g") 'checked))
        (should (= 1 (gnus-group-unread (group "g")))))
      (dolist (name '("not" "c" "d" "e"))
        (should (= 1 (cl-count-if (lambda (line)
                                    (string-search (concat (group name)
                                                           ": not subscribed")
                                                   line))
                                  mailsync-gnus-test--log))))
      ;; Those that Gnus knows by now it is not told of again.
      (dolist (name '("a" "b"))
        (should (equal (caar (mailsync-gnus-test--check
                              (car (mailsync-groups-test--changes name 'new))))
                       (cons name 'no-group)))
        (should-not (mailsync-gnus--entry (group name)))))))

(ert-deftest mailsync-groups-test-new-is-new ()
  "What only is looked at, or has other flags, is not new."
  (mailsync-groups-test--with-new 'nnimap
    (mailsync-groups-test--make-folder "made" 1)
    (dolist (kind '(unknown flags gone))
      (should (equal (caar (apply #'mailsync-gnus-test--check
                                  (mailsync-groups-test--changes "made" kind)))
                     '("made" . no-group)))
      (should-not (mailsync-gnus--entry (group "made"))))
    (should (equal (caar (apply #'mailsync-gnus-test--check
                                (mailsync-groups-test--changes "made" 'new)))
                   '("made" . checked)))
    (should (= 1 (gnus-group-unread (group "made"))))))

(ert-deftest mailsync-groups-test-new-does-not-wait ()
  "Nothing is asked on the user's connection, and the server is told."
  (mailsync-groups-test--with-new 'nnimap
    (let ((sent nil)
          (own (nnimap-find-process-buffer nntp-server-buffer)))
      (should (buffer-live-p own))
      (advice-add 'process-send-string :before
                  (lambda (process text)
                    (push (cons (process-buffer process) text) sent))
                  '((name . look)))
      (unwind-protect
          (should (equal (make "made") 'checked))
        (advice-remove 'process-send-string 'look))
      (should sent)
      (should-not (assq own sent))
      (should (cl-some (lambda (line) (string-match-p "SUBSCRIBE \"made\"" (cdr line)))
                       sent))
      (mailsync-gnus-test--wait
       (string-match-p "made" (with-temp-buffer
                                (ignore-errors
                                  (insert-file-contents
                                   (mailsync-groups-test--path "subscriptions")))
                                (buffer-string)))))))

(ert-deftest mailsync-groups-test-new-silent-server ()
  "A server that is gone when it is asked is asked again; nobody waits."
  (mailsync-groups-test--with-new 'nnimap
    (mailsync-groups-test--make-folder "made" 1)
    (let ((server (mailsync-gnus--imap-server
                   (gnus-find-method-for-group (group "work"))))
          (killed nil))
      (advice-add 'mailsync-gnus--imap-ask-names :after
                  (lambda (server &rest _)
                    (unless killed
                      (setq killed t)
                      (delete-process (mailsync-gnus--imap-process server))))
                  '((name . kill)))
      (unwind-protect
          (should (equal (caar (apply #'mailsync-gnus-test--check
                                      (mailsync-groups-test--changes "made" 'new)))
                         '("made" . failed)))
        (advice-remove 'mailsync-gnus--imap-ask-names 'kill))
      (should killed)
      (should-not (mailsync-gnus--entry (group "made")))
      (mailsync-gnus-test--wait (mailsync-gnus--entry (group "made")))
      (mailsync-gnus-test--wait (eql 1 (gnus-group-unread (group "made"))))
      (should (= 0 (mailsync-gnus--imap-failures server))))))

(ert-deftest mailsync-groups-test-new-quit-meanwhile ()
  "When Gnus quits while a server is asked whoever waits is told."
  (mailsync-groups-test--with-new 'nnimap
    (mailsync-groups-test--make-folder "made" 1)
    (let ((box nil))
      (advice-add 'mailsync-gnus--imap-ask-names :after
                  (lambda (&rest _)
                    (run-at-time 0 nil (lambda ()
                                         (with-current-buffer gnus-group-buffer
                                           (gnus-group-exit)))))
                  '((name . quit)))
      (unwind-protect
          (progn
            (setq box (apply #'mailsync-gnus-test--send
                             (mailsync-groups-test--changes "made" 'new)))
            (mailsync-gnus-test--wait (car box)))
        (advice-remove 'mailsync-gnus--imap-ask-names 'quit))
      (should (member (nth 1 box) '((("made" . not-running))
                                    (("made" . checked)))))
      (mailsync-gnus-test--wait (not (gnus-alive-p)))
      (should-not mailsync-gnus--newcomers)
      (should-not mailsync-gnus--newcomers-asked)
      (gnus))))

(ert-deftest mailsync-groups-test-new-large ()
  "A large folder is subscribed to, and its first look left to the user."
  (mailsync-groups-test--with-new 'nnmaildir
    (cl-letf (((symbol-function 'mailsync-gnus--too-large-p)
               (let ((function (symbol-function 'mailsync-gnus--too-large-p))
                     (mailsync-gnus--new-messages-max 3))
                 (lambda (&rest args)
                   (let ((mailsync-gnus--new-messages-max 3))
                     (apply function args))))))
      (mailsync-groups-test--make-folder "large" 4)
      (apply #'mailsync-gnus-test--check
             (mailsync-groups-test--changes "large" 'folder-created))
      (should (mailsync-gnus--entry (group "large")))
      (should-not (gnus-active (group "large")))
      (should (equal (why (group "large")) "never activated"))
      (should (member "*: nnmaildir:large" (mailsync-groups-test--lines))))))

(ert-deftest mailsync-groups-test-new-with-much-mail ()
  "Of a new folder with much mail a few messages are taken in at a time."
  (mailsync-groups-test--with-new 'nnmaildir
    (let ((count (+ 2 (* 2 mailsync-gnus--arrivals-max)))
          (seen nil))
      (mailsync-groups-test--make-folder "much" 0)
      (dotimes (i count)
        (write-region (format "Subject: %d\nMessage-ID: <%d@much>\n\n" i i) nil
                      (format "%s/new/%d.x" (mailsync-groups-test--path "much")
                              (+ 1000 i))
                      nil 'silent))
      (advice-add 'gnus-activate-group :filter-return
                  (lambda (value)
                    (push (length (directory-files
                                   (mailsync-groups-test--path "much/cur")
                                   nil "\\`[^.]"))
                          seen)
                    value)
                  '((name . look)))
      (unwind-protect
          (pcase-let ((`(((,_ . ,result)) (,news))
                       (apply #'mailsync-gnus-test--check
                              (mailsync-groups-test--changes
                               "much" 'folder-created 'new))))
            (should (eq result 'checked))
            (should (equal (plist-get news :groups)
                           `((,(group "much") 0 ,count)))))
        (advice-remove 'gnus-activate-group 'look))
      (should (= count (gnus-group-unread (group "much"))))
      (cl-loop for (later earlier) on seen
               do (should (<= (- later (or earlier 0))
                              mailsync-gnus--arrivals-max))))))

(ert-deftest mailsync-groups-test-new-names-late ()
  "Where the names in a server's directory do not come nobody waits for long."
  (mailsync-groups-test--with-new 'nnmaildir
    (let ((mailsync-gnus--new-names-timeout 0.1)
          (resolve (symbol-function 'mailsync--resolve)))
      (cl-letf (((symbol-function 'mailsync--resolve)
                 (lambda (slot &rest args)
                   (unless (equal slot "gnus-new") (apply resolve slot args)))))
        (should (equal (make "made") 'no-group)))
      (should (string-match-p "does not answer" (why "made")))
      ;; With the next change it is looked for again.
      (should (equal (caar (apply #'mailsync-gnus-test--check
                                  (mailsync-groups-test--changes "made" 'new)))
                     '("made" . checked))))))

(ert-deftest mailsync-groups-test-new-by-command ()
  "Where groups are checked by Gnus's command new ones are too."
  (let ((mailsync-gnus-check-method 'command))
    (dolist (kind '(nnmaildir nnimap topic))
      (mailsync-groups-test--with-new kind
        (should (equal (make "made") 'checked))
        (should (= 1 (gnus-group-unread (group "made"))))
        (when (eq kind 'topic)
          (should (member "[ Gnus -- 3 ]" (mailsync-groups-test--lines))))))))

(ert-deftest mailsync-groups-test-new-by-splitting ()
  "A group that splitting makes is subscribed to, where that is wanted."
  (dolist (wanted '(nil t))
    (mailsync-groups-test--with-new 'nnml
      (let ((nnmail-split-methods '(("fresh" "")))
            (mailsync-gnus-subscribe-new wanted)
            (group (format "nnml+%s:fresh" mailsync-gnus-test--name)))
        (mailsync-groups-test--deliver "incoming")
        (apply #'mailsync-gnus-test--check
               (mailsync-groups-test--changes "incoming" 'new))
        (should (equal (and (mailsync-gnus--entry group)
                            (gnus-group-unread group))
                       (and wanted 1)))
        (should (equal (and (member "1: nnml:fresh" (mailsync-groups-test--lines)) t)
                       wanted))
        (should (equal (why group) (if wanted nil "unknown to Gnus")))))))

;;;; The sum in the mode line

(defun mailsync-groups-test--mode-line ()
  "What the mode line of *Group* says after what Emacs itself does, soon."
  (mailsync-gnus-test--wait (null mailsync-gnus--total-timer))
  (substring-no-properties (or mailsync-mode-line "")))

(ert-deftest mailsync-groups-test-total ()
  "The sum follows checks and the user, and costs nothing where none is wanted."
  (mailsync-gnus-test--with '(nnmaildir nnimap) '("folder000" "folder001" "INBOX")
    (let* ((a (mailsync-gnus-test--group 'nnmaildir "folder000"))
           (b (mailsync-gnus-test--group 'nnmaildir "folder001"))
           (mailsync-gnus-mode-line-groups nil)
           (updates 0))
      (cl-flet ((expect (text)
                  (should (equal (mailsync-groups-test--mode-line) text))))
        (setq mailsync-mode-line "")
        (mailsync-gnus-test--deliver "folder000")
        (mailsync-gnus-test--check (mailsync-gnus-test--change "folder000" 'new))
        (should-not mailsync-gnus--total-timer)
        (expect "")
        (setq mailsync-gnus-mode-line-groups (list "nnmaildir+*:folder*"))
        (gnus-group-update-group a t)
        (expect " Mail:7")              ; 3 and 4
        (should (string-match-p (regexp-quote (format "3: %s" a))
                                (get-text-property 1 'help-echo
                                                   mailsync-mode-line)))
        ;; A check, of a group without a line too.
        (mailsync-gnus-test--deliver "folder000")
        (mailsync-gnus-test--check (mailsync-gnus-test--change "folder000" 'new))
        (expect " Mail:8")
        ;; Others do not count.
        (mailsync-gnus-test--deliver "INBOX")
        (mailsync-gnus-test--check (mailsync-gnus-test--change "INBOX" 'new))
        (expect " Mail:8")
        ;; The user reads.
        (with-current-buffer gnus-group-buffer
          (gnus-group-jump-to-group a)
          (gnus-group-read-group nil t))
        (with-current-buffer gnus-summary-buffer
          (gnus-summary-goto-subject (car gnus-newsgroup-unreads))
          (gnus-summary-mark-article nil gnus-read-mark)
          (gnus-summary-exit))
        (expect " Mail:7")
        ;; In *Group*: catch up, kill, and undo that.
        (with-current-buffer gnus-group-buffer
          (gnus-group-jump-to-group a)
          (gnus-group-catchup-current))
        (expect " Mail:4")
        (with-current-buffer gnus-group-buffer
          (gnus-group-jump-to-group b)
          (gnus-group-kill-group)
          (run-hooks 'post-command-hook))
        (expect " Mail:0")
        (with-current-buffer gnus-group-buffer
          (gnus-group-yank-group)
          (run-hooks 'post-command-hook))
        (expect " Mail:4")
        ;; Levels.
        (setq mailsync-gnus-mode-line-groups 3)
        (gnus-group-update-group b t)
        (let ((all (cl-loop for info in (cdr gnus-newsrc-alist)
                            when (<= (gnus-info-level info) 3)
                            sum (or (mailsync-gnus--unread (car info)) 0))))
          (should (> all 4))
          (expect (format " Mail:%d" all))
          (with-current-buffer gnus-group-buffer
            (gnus-group-jump-to-group b)
            (gnus-group-set-current-level 1 5))
          (expect (format " Mail:%d" (- all 4))))
        ;; A listing draws each line; the sum is made once.
        (advice-add 'mailsync-gnus--total-now :before
                    (lambda () (cl-incf updates)) '((name . count)))
        (unwind-protect
            (with-current-buffer gnus-group-buffer
              (gnus-group-list-groups 5 t)
              (mailsync-groups-test--mode-line))
          (advice-remove 'mailsync-gnus--total-now 'count))
        (should (= updates 1))
        ;; Without Gnus nobody knows.
        (with-current-buffer gnus-group-buffer (gnus-group-exit))
        (expect "")
        (gnus)
        (mailsync-gnus-test--wait
         (string-match-p "\\` Mail:[0-9]+\\'" (mailsync-groups-test--mode-line)))
        (mailsync-gnus-teardown)
        (should-not mailsync-gnus--total-timer)
        (should-not (cl-some (lambda (hook)
                               (and (boundp hook)
                                    (memq #'mailsync-gnus--total-soon
                                          (ensure-list (symbol-value hook)))))
                             mailsync-gnus--total-hooks))))))

(ert-deftest mailsync-groups-test-total-groups ()
  "Which groups are meant is found out when there are others, and only then."
  (let ((mailsync-gnus--total-groups nil)
        (mailsync-gnus-mode-line-groups '("a*" "[b]/x"))
        (gnus-newsrc-alist '(("dummy.group" 0 nil) ("ab" 3 nil) ("b" 3 nil)
                             ("[b]/x" 3 nil) ("ca" 3 nil)))
        (looked 0))
    (advice-add 'mailsync-gnus--named-groups :before
                (lambda (_) (cl-incf looked)) '((name . count)))
    (unwind-protect
        (progn
          (dotimes (_ 3)
            (should (equal (mailsync-gnus--total-groups) '("ab" "[b]/x"))))
          (should (= looked 1))
          ;; Renamed.
          (setq gnus-newsrc-alist '(("dummy.group" 0 nil) ("abc" 3 nil)
                                    ("b" 3 nil) ("[b]/x" 3 nil) ("ca" 3 nil)))
          (should (equal (mailsync-gnus--total-groups) '("abc" "[b]/x")))
          (setq mailsync-gnus-mode-line-groups '("c*"))
          (should (equal (mailsync-gnus--total-groups) '("ca")))
          (should (= looked 3)))
      (advice-remove 'mailsync-gnus--named-groups 'count))))

(ert-deftest mailsync-groups-test-total-mistakes ()
  "A mistake in the options is logged, and shows nothing."
  (let ((mailsync-gnus-test--log nil)
        (mailsync-gnus--total-groups nil)
        (gnus-newsrc-alist '(("dummy.group" 0 nil) ("a" 3 nil)))
        (mailsync-gnus--total '(12 (("a" . 12)))))
    (dolist (mailsync-gnus-mode-line-groups '("a" (a) (1)))
      (should-not (mailsync-gnus--total-groups)))
    (should (= 3 (length mailsync-gnus-test--log)))
    (let ((mailsync-gnus-mode-line-total nil))
      (should (equal (mailsync-gnus-total-text) "")))))

(ert-deftest mailsync-groups-test-total-text ()
  "The sum is written as the option says, safe for a mode line."
  (let ((mailsync-gnus--total '(12 (("a" . 12))))
        (mailsync-gnus-mode-line-total " 100% %d%"))
    (should (equal (format-mode-line (mailsync-gnus-total-text))
                   (format-mode-line " 100%% 12%%")))
    (should (equal (substring-no-properties (mailsync-gnus-total-text))
                   " 100%% 12%%"))))

(provide 'mailsync-groups-test)
;;; mailsync-groups-test.el ends here
